"""The kinds of judges; one file each."""
