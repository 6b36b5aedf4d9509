"""What `torture.py` does to runs: kills, failing disks, damaged files; and how each ended."""
