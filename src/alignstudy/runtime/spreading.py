"""Over how many processes a piece of work is spread: as many as pay and as memory holds."""

from __future__ import annotations

import os
from pathlib import Path

START_UP = 8.0
"""Seconds until a worker computes: a fresh interpreter, torch, transformers, the weights."""

SHARE = 0.8
"""Of the free memory, what workers may take."""

_WORKER = 600_000_000
"""Bytes of a process with torch and transformers, before it holds any weights."""


def workers_that_pay(
    seconds: float, *, asked: int, tasks: int, held: int, start_up: float = START_UP
) -> int:
    """Return the number of processes that end soonest; 1: the work stays in this process.

    Args:
        seconds: What the work takes in one process; take rather too little than too much.
        asked: Most processes, at least 1.
        tasks: Pieces that the work can be cut into.
        held: Bytes that each worker will hold: its weights, and what one task needs.
        start_up: Seconds that the start of the workers takes.

    Returns:
        In [1, asked]; processes times threads don't exceed the CPU cores that we may use.
    """
    import torch

    cores = usable_cores() // torch.get_num_threads()
    room = int(SHARE * free_memory()) // (held + _WORKER)
    most = min(asked, tasks, cores, room)
    if most < 2 or start_up + seconds / most >= seconds:
        return 1
    return most


def usable_cores() -> int:
    """Count the CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes that can be had without swapping, in this process's control group too."""
    return min([_machine_free(), *_group_free()])


def _machine_free() -> int:
    """Read what the system says; half of all where it says nothing."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * 10**9


def _group_free() -> list[int]:
    """Read a container's limit, if it has one; what it holds of files is given back when asked."""
    group = Path("/sys/fs/cgroup")
    limit, used = (_lines(group / name)[:1] for name in ("memory.max", "memory.current"))
    if not (limit and used and limit[0].isdecimal()):
        return []
    stat = dict(line.partition(" ")[::2] for line in _lines(group / "memory.stat"))
    return [max(0, int(limit[0]) - int(used[0]) + int(stat.get("inactive_file", "0")))]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
