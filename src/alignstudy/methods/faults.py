"""The libraries' many words for a full disk or memory in one; their notices not at all."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from alignstudy.errors import EnvironmentFault
from alignstudy.methods.base import TrainJob
from alignstudy.methods.loop.checkpoints import newest_step
from alignstudy.models.load import no_loading_bar
from alignstudy.models.quantized import import_before_others

_NOTICES = (r"`gradient_checkpointing` is deprecated", r"`is_gradient_checkpointing` is deprecated")
"""TRL 1.16 itself uses these names; there is nothing that a user could do about it."""

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
        words = str(error).lower()
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, MemoryError) or any(mark in words for mark in _MEMORY_WORDS):
            what = "training ran out of memory"
            hint = (
                "halve per_device_train_batch_size and double gradient_accumulation_steps, or"
                " shorten max_length"
            )
        elif full or any(mark in words for mark in _DISK_WORDS):
            what = f"there is no room on the disk for a checkpoint or the model ({job.work})"
            hint = "free some space and run the same command again"
        else:
            raise
        newest = newest_step(job.work)
        kept = "no checkpoint yet" if newest is None else f"the checkpoint of step {newest}"
        why = str(error).split("\n")[0]
        raise EnvironmentFault(what, why=why, hint=hint, kept=kept) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the bars of transformers, and the notices that only its developers can act on."""
    import_before_others()
    with no_loading_bar(), warnings.catch_warnings():
        for message in _NOTICES:
            warnings.filterwarnings("ignore", message=message, category=FutureWarning)
        yield
