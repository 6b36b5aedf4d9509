"""Ctrl-C and SIGTERM: a run stops in good order, or at once when asked twice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a flag; a second SIGINT ends at once.

    Yields:
        A function that returns whether a stop was requested.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, frame: object) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()
        tell("stopping in good order (a checkpoint is being written); Ctrl-C again ends at once")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, former in old.items():
            signal.signal(number, former)
