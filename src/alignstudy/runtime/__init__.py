"""Processes, devices and files: what the machine gives."""
