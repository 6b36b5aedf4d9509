"""Work in several processes of this machine, with the results that one process gives.

A worker is a fresh interpreter that loads what it needs once, then does one task after the other.
Its results are this process's to the bit: the same numbers meet in the same order, wherever they
meet.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

from alignstudy.errors import WorkerEndedError
from alignstudy.runtime.device import set_threads

Task = TypeVar("Task")
Answer = TypeVar("Answer")
Note = Callable[[str], None]
Load = Callable[[], Callable[[Any, Note], Any]]

START_UP = 8.0
"""Seconds until a worker computes: a fresh interpreter, torch, transformers, the weights."""

GRACE = 5.0
"""Seconds for a worker to end by itself: a killed one leaves its semaphores to the system."""

_SHARE = 0.8
"""Of the free memory, what workers may take."""

_WORKER = 600_000_000
"""Bytes of a process with torch and transformers, before it holds any weights."""


class WorkerPool(Generic[Task, Answer]):
    """Processes that start at once and stay until `close`.

    Args:
        load: Called once in each worker; returns what does one task: (task, note) -> answer. Sent
            by pickle, so it is a function that can be imported, or a `functools.partial` of one.
        workers: How many processes, at least 1.
        threads: CPU threads of each; None: PyTorch's default.
    """

    def __init__(self, load: Load, *, workers: int, threads: int | None = None) -> None:
        self._executor = ProcessPoolExecutor(
            workers, mp_context=_Context(), initializer=_begin, initargs=(load, threads)
        )
        # All at once: of one that it starts while others work, the executor may miss the death.
        for _ in range(workers):
            self._executor._adjust_process_count()

    def submit(self, task: Task) -> Future[tuple[Answer, list[str]]]:
        """Have a task done; the future holds the answer and the worker's notes."""
        return self._executor.submit(_do, task)

    def map(self, tasks: Sequence[Task], *, note: Note) -> Iterator[Answer]:
        """Do tasks, and return their answers in their order; a fault closes the pool.

        Args:
            tasks: The longest first, so that no worker begins a long one last.
            note: Called with what the workers note.

        Raises:
            WorkerEndedError: If a worker was killed.
            Exception: Whatever a task raised.
        """
        try:
            futures = [self.submit(task) for task in tasks]
            for future in futures:
                answer, notes = future.result()
                for text in notes:
                    note(text)
                yield answer
        except BrokenProcessPool as error:
            raise self.broken() from error
        except BaseException:  # what the workers still do, nobody waits for
            self.close()
            raise

    def broken(self) -> WorkerEndedError:
        """Return why a worker ended that should not have; the executor has ended the others."""
        processes = tuple(self._executor._processes.values())
        self._executor.shutdown()  # waits until all exit codes are known
        codes = {process.exitcode or 0 for process in processes} - {0, -signal.SIGTERM}
        code = min(codes, default=0)
        how = f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"
        often = " (most often the system's: out of memory)" if code == -signal.SIGKILL else ""
        return WorkerEndedError(
            "a worker process ended before its work did",
            why=how + often,
            hint="run the same command again: it goes on from here; where memory is short set"
            " fewer workers (`workers: 1` keeps all in one process)",
        )

    def close(self, *, grace: float = 0.0) -> None:
        """End the workers, whatever they do.

        Args:
            grace: Seconds in which idle ones may end by themselves, and clean up.
        """
        processes = tuple((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False)
        for process in processes:
            process.join(grace)
        for process in processes:
            process.kill()
            process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, fault: object, *_: object) -> None:
        self.close(grace=0.0 if fault else GRACE)


class _Process(SpawnProcess):
    """Starts without the user's script, and out of reach of the terminal's Ctrl-C.

    multiprocessing would import the script again, which fails where it has no `if __name__` guard.
    Ctrl-C is for the parent, which ends its workers in good order: they inherit it blocked.
    """

    def start(self) -> None:
        main = sys.modules["__main__"]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class _Context(SpawnContext):
    Process = _Process


_loaded: dict[str, Callable[[], Callable[[Any, Note], Any]]] = {}
"""In a worker: what loads on the first call, so that a fault there is the task's."""


def _begin(load: Load, threads: int | None) -> None:
    """Prepare a worker: no network, no words on the terminal, no life without its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries print would tear the progress bar
        os.dup2(silence, stream)
    if threads is not None:
        os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        set_threads(threads)
    _loaded["load"] = cache(load)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(task: Any) -> tuple[Any, list[str]]:  # noqa: ANN401
    notes: list[str] = []
    return _loaded["load"]()(task, notes.append), notes


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
    room = int(_SHARE * free_memory()) // (held + _WORKER)
    most = min(asked, tasks, cores, room)
    if most < 2 or start_up + seconds / most >= seconds:
        return 1
    return most


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes that can be had without swapping, in this process's control group too."""
    meminfo = dict(line.partition(":")[::2] for line in _lines(Path("/proc/meminfo")))
    if "MemAvailable" in meminfo:
        free = int(meminfo["MemAvailable"].split()[0]) * 1024
    else:  # not Linux: half of all
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    group = Path("/sys/fs/cgroup")
    limit, used = (_lines(group / name)[:1] for name in ("memory.max", "memory.current"))
    if not (limit and used and limit[0].isdecimal()):
        return free
    stat = dict(line.partition(" ")[::2] for line in _lines(group / "memory.stat"))
    files = int(stat.get("inactive_file", "0"))  # given back when asked
    return min(free, max(0, int(limit[0]) - int(used[0]) + files))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
