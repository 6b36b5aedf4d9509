"""The libraries' own bars and notices off the terminal: the caller has a progress bar."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_NOTICES = (r"`gradient_checkpointing` is deprecated", r"`is_gradient_checkpointing` is deprecated")
"""TRL 1.16 itself uses these names; there is nothing that a user could do about it."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the bars of transformers, and the notices that only its developers can act on."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in _NOTICES:
                warnings.filterwarnings("ignore", message=message, category=FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
