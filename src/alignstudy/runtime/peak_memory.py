"""The peak memory of a stretch of work: of this process, and of an accelerator."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: str = "cpu") -> bool:
    """Begin a stretch: forget earlier peaks.

    Returns:
        Whether the process' own peak could be forgotten (Linux lets a process do that).
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def process_peak() -> int | None:
    """This process' peak resident bytes since `reset_peak`; None where Linux doesn't tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


def lifetime_peak() -> int | None:
    """This process' peak resident bytes since it began; None where there is no such count."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def device_peak(device: str) -> int | None:
    """Return the bytes that tensors held at most on an accelerator since `reset_peak`."""
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


def free_device_bytes(device: str) -> int:
    """Return the free bytes of an accelerator."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0])
