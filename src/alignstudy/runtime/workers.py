"""Work spread over processes, with the results that one process gives.

A worker is a fresh interpreter that loads what it needs itself, computes with the threads and the
float32 route of this process, and takes one task after the other. Its results are this process's
to the bit: the same numbers meet in the same order, wherever they meet.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Generic, Self, TypeVar

from alignstudy.errors import EnvironmentFault, WorkerEndedError
from alignstudy.runtime.worker_process import Told

Task = TypeVar("Task")
Answer = TypeVar("Answer")
Note = Callable[[Any], None]
Load = Callable[[], Callable[[Any, Note], Any]]
_Waiting = queue.SimpleQueue[Any]
_Heard = queue.SimpleQueue["Told"]

_BEGIN = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer);"
    " from alignstudy.runtime.worker_process import serve; serve()"
)
"""A worker doesn't import the user's script again, as multiprocessing's do."""


_PATIENCE = 10.0
"""Seconds that a process takes at most to end."""


class WorkerPool(Generic[Task, Answer]):
    """Processes that stay until `close`; each does one task at a time.

    Args:
        load: Called once in each worker; gives what does one task: (task, note) -> answer. Sent
            by pickle, so it is a function that can be imported, or a `functools.partial` of one.
        workers: How many processes, at least 1.
    """

    def __init__(self, load: Load, *, workers: int) -> None:
        self._workers: list[_Worker] = []
        # Workers end with the pool, forgotten or not, and before this process does.
        weakref.finalize(self, _end_all, self._workers)
        try:
            self._workers += [_Worker(load) for _ in range(workers)]
        except OSError as error:
            self.close()
            raise EnvironmentFault(
                "no process can be started for the work to be spread over",
                why=str(error),
                hint="set workers: 1, or free memory and processes",
            ) from error

    @property
    def closed(self) -> bool:
        """Whether its workers have ended: by `close`, or because a task failed."""
        return not self._workers

    def run(self, tasks: Sequence[Task], *, note: Note) -> Iterator[tuple[int, Answer]]:
        """Do tasks in their order, as workers get free; give (number, answer) as they finish.

        Args:
            tasks: The longest first, so that no worker begins a long one last.
            note: Told what the workers note.

        Raises:
            AlignstudyError: As the task raised it.
            WorkerEndedError: If a worker was killed.
            RuntimeError: If a task raised anything else, with its traceback.
        """
        if self.closed:
            raise RuntimeError("the pool of workers is closed")
        waiting, heard = queue.SimpleQueue[tuple[int, Task]](), queue.SimpleQueue[Told]()
        for item in enumerate(tasks):
            waiting.put(item)
        for worker in self._workers[: len(tasks)]:
            worker.start(waiting, heard)
        left = len(tasks)
        try:
            while left:
                told = heard.get()
                if told.kind == "error":
                    raise told.value
                if told.kind == "note":
                    note(told.value)
                    continue
                left -= 1
                yield told.task, told.value
        finally:
            if left:  # what a worker still does, nobody waits for
                self.close()

    def ask_to_stop(self) -> None:
        """Send the workers SIGTERM: one that handles it stops in good order, others end."""
        for worker in tuple(self._workers):
            worker.ask_to_stop()

    def close(self) -> None:
        """End the workers, whatever they do; a closed pool does no more work."""
        _end_all(self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end_all(workers: list[_Worker]) -> None:
    """End workers, and forget them."""
    while workers:
        workers.pop().end()


class _Worker:
    """This process's end of a worker."""

    def __init__(self, load: Load) -> None:
        import torch

        from alignstudy.runtime.kernel_probe import current_route

        threads = torch.get_num_threads()
        # What a library writes to the terminal would tear the progress bar; the end of it is told
        # if the worker dies.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
            env=_environment(threads),
            process_group=0,  # Ctrl-C is for the parent, which ends its workers in good order
        )  # fmt: skip
        self._first: tuple[Any, ...] = (sys.path, (threads, current_route(), load))
        self._thread: threading.Thread | None = None

    def start(self, waiting: _Waiting, heard: _Heard) -> None:
        """Begin to take tasks, until none waits; what comes of them is put into `heard`."""
        self._thread = threading.Thread(target=self._work, args=(waiting, heard), daemon=True)
        self._thread.start()

    def _work(self, waiting: _Waiting, heard: _Heard) -> None:
        """Do tasks until none waits; anything that goes wrong is told, and ends it."""
        try:
            for message in self._first:
                self._send(message)
            self._first = ()
            while True:
                self._send(waiting.get_nowait())
                while (told := self._receive()).kind == "note":
                    heard.put(told)
                heard.put(told)
        except queue.Empty:
            return
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            heard.put(Told("error", self._death()))
        except Exception as error:
            heard.put(Told("error", error))

    def _send(self, message: object) -> None:
        pipe = _open(self._process.stdin)
        pickle.dump(message, pipe)
        pipe.flush()

    def _receive(self) -> Told:
        told: Told = pickle.load(_open(self._process.stdout))
        return told

    def _death(self) -> WorkerEndedError:
        """Return how a worker ended that should not have."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = 0
        self._words.seek(0)
        words = self._words.read().decode(errors="replace").strip().splitlines()
        killed = f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"
        often = "; signal 9 is most often the system's, for want of memory" if code == -9 else ""
        return WorkerEndedError(
            f"the worker process {self._process.pid} ended before its work did",
            why=killed + often + (f"; its last words: {words[-1]}" if words else ""),
            hint="set fewer workers (`workers: 1` keeps all in one process), or use a machine with"
            " more memory",
        )

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)  # it reads the end of the pipe
        for pipe in (self._process.stdin, self._process.stdout, self._words):
            _close(pipe)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe that was asked for, so is there."""
    if pipe is None:
        raise ValueError("the worker has no such pipe")
    return pipe


def _close(pipe: IO[bytes] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except OSError:
        return  # what was not yet written has no reader any more


def _environment(threads: int) -> dict[str, str]:
    """Return a worker's environment: no network, no threads beside those it is lent."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
