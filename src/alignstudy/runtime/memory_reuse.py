"""Freed memory kept for the next tensor, where the C library would give it back to the system.

A pass allocates and frees tens of megabytes. glibc returns such blocks to the system as soon as
they are free, and the next pass pays for every page anew: 2 to 4 % of a small model's training.
"""

from __future__ import annotations

import ctypes
import os
import platform

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's mallopt, by malloc.h."""

LARGEST_KEPT = 2**25
"""Bytes of a block up to which it is kept; more isn't accepted by glibc."""
MOST_KEPT = 2**28
"""Bytes of free memory that are kept at most."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, in limits; nothing it computes hangs on that.

    Returns:
        Whether it does now: not with other C libraries, nor where the environment says how memory
        is to be handled (MALLOC_TRIM_THRESHOLD_ and its like).
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        set_parameter = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # pragma: no cover - a glibc without it isn't known
        return False
    wanted = ((_MMAP_THRESHOLD, LARGEST_KEPT), (_TRIM_THRESHOLD, MOST_KEPT))
    return all([bool(set_parameter(which, value)) for which, value in wanted])
