"""The far end of `workers`: a process that loads once, then does task after task."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alignstudy.errors import AlignstudyError


@dataclass(frozen=True)
class Told:
    """What a worker says: a note, an answer, or why there is none."""

    kind: str
    value: Any
    task: int = -1


def serve() -> None:
    """Be a worker: load once, then answer tasks until the other end is closed."""
    import signal

    # The terminal's Ctrl-C reaches every process; the one that spread the work ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer

    def tell(told: Told) -> None:
        pickle.dump(told, answers)
        answers.flush()

    try:
        _answer(asked, tell)
    except AlignstudyError as error:
        tell(Told("error", error))
    except Exception:
        words = f"a worker process failed:\n{traceback.format_exc()}"
        tell(Told("error", RuntimeError(words)))


def _listen(asked: queue.SimpleQueue[Any]) -> None:
    """Read what comes; when the process that asks is gone, however it ended, so is this one."""
    try:
        while True:
            asked.put(pickle.load(sys.stdin.buffer))
    except EOFError:
        os._exit(0)
    except Exception as error:
        asked.put(error)


def _answer(asked: queue.SimpleQueue[Any], tell: Callable[[Told], None]) -> None:
    """Load, then do task after task."""
    import torch

    from alignstudy.runtime.kernel_probe import use_route

    threads, route, load = _next(asked)
    torch.set_num_threads(threads)
    use_route(route)
    run = load()
    while True:
        number, task = _next(asked)
        answer = run(task, lambda text: tell(Told("note", text)))
        tell(Told("answer", answer, number))


def _next(asked: queue.SimpleQueue[Any]) -> Any:  # noqa: ANN401
    """Return what was asked; raise what went wrong in reading it."""
    message = asked.get()
    if isinstance(message, Exception):
        raise message
    return message
