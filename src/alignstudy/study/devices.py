"""What a study computes on, and how many processes its work may be spread over."""

from __future__ import annotations

import os
from pathlib import Path

from alignstudy.runtime.device import device_name, pick_device
from alignstudy.runtime.pool import usable_cores
from alignstudy.study.settings.study import StudySettings


def worker_count(settings: StudySettings) -> int:
    """Return the processes that a study's work may be spread over: 1 on an accelerator.

    On a CPU as many as asked for, and not more than there are cores for their threads.
    """
    if device_of(settings) != "cpu":
        return 1
    cores = usable_cores()
    threads = settings.threads or int(os.environ.get("OMP_NUM_THREADS") or 0) or cores
    most = max(1, cores // threads)
    return most if settings.workers == "auto" else min(settings.workers, most)


def device_of(settings: StudySettings) -> str:
    """Return "cpu" or "cuda"."""
    return "cpu" if accelerator(settings.device) is None else "cuda"


def device_class(settings: StudySettings) -> str:
    """Name what computes: the threads of a CPU decide the order of sums, so they belong to it."""
    asked = settings.threads or os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    return accelerator(settings.device) or f"cpu ({asked} threads)"


def accelerator(asked: str = "auto") -> str | None:
    """Name the accelerator; None for a CPU. Torch is imported only where one may be.

    Raises:
        EnvironmentFault: If CUDA is asked for and there is none.
    """
    drivers = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    if asked == "cpu" or (asked == "auto" and not any(Path(name).exists() for name in drivers)):
        return None
    device = pick_device(asked)
    return None if device == "cpu" else device_name(device)
