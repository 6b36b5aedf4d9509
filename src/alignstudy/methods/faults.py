"""What the machine lacks, said in words: disk and memory."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from alignstudy.errors import EnvironmentFault
from alignstudy.methods.base import TrainJob
from alignstudy.methods.loop.checkpoints import newest_step

_DISK_WORDS = ("no space left", "inline_container", "file write failed", "disk quota")
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory")


@contextmanager
def named_faults(job: TrainJob) -> Iterator[None]:
    """Turn the libraries' many ways to say that disk or memory is full into one.

    Raises:
        EnvironmentFault: Naming what is full, how to go on, and what was kept.
    """
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        fault = _fault(error, job)
        if fault is None:
            raise
        raise fault from error


def _fault(error: BaseException, job: TrainJob) -> EnvironmentFault | None:
    words = str(error).lower()
    newest = newest_step(job.work)
    kept = "no checkpoint yet" if newest is None else f"the checkpoint of step {newest}"
    if isinstance(error, MemoryError) or any(mark in words for mark in _MEMORY_WORDS):
        return EnvironmentFault(
            "training ran out of memory",
            why=str(error).split("\n")[0],
            hint="halve per_device_train_batch_size and double gradient_accumulation_steps, or"
            " shorten max_length",
            kept=kept,
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(mark in words for mark in _DISK_WORDS):
        return EnvironmentFault(
            f"there is no room on the disk for a checkpoint or the model ({job.work})",
            why=str(error).split("\n")[0],
            hint="free some space and run the same command again",
            kept=kept,
        )
    return None
