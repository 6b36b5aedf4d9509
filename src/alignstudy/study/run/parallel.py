"""Stages that don't need each other, made at the same time in several processes.

Each process makes a stage as a run of its own would: the store's locks, checkpoints and hashes see
to it that nothing is made twice and nothing is lost, however a process ends. What a stage makes
doesn't depend on the process that makes it, nor on what is made meanwhile.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import c_bool
from functools import partial
from graphlib import TopologicalSorter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from alignstudy.errors import AlignstudyError, InterruptedRunError
from alignstudy.progress import NotesTo
from alignstudy.runtime.pool import WorkerPool
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

POLL_SECONDS = 0.2
"""Between looks at whether a stop was asked for."""

_Order = tuple[Stage, dict[str, str], bool]
"""A stage; the names of those that the run has made, by key; whether others are at work."""

_Made = tuple[dict[str, str], list[str]]
"""The names of the stages that the run has made, by key; notes for its record."""


def make_in_parallel(runner: Runner, goals: Sequence[Stage]) -> None:
    """Make what the goals need in several processes, where there is enough of it.

    Args:
        runner: Whose `workers` say how many processes; afterwards it knows what was made.
        goals: Stages whose artefacts are wanted.

    Raises:
        AlignstudyError: As a stage raised it. Stages at work beside it were stopped in good order.
    """
    if runner.workers < 2 or runner.device != "cpu":
        return
    stages = in_order(goals, known=runner.adopt)
    if sum(stage.numeric for stage in stages) >= 2:
        _StageExecutor(runner, stages).run()


class _StageExecutor:
    """Sends stages to workers as soon as what they need is made.

    Args:
        runner: Of this process.
        stages: All that are to be made.
    """

    def __init__(self, runner: Runner, stages: Sequence[Stage]) -> None:
        self._runner = runner
        self._stages = {stage.key: stage for stage in stages}
        self._sorter = TopologicalSorter(
            {
                key: [needed.key for needed, _ in stage.needed() if needed.key in self._stages]
                for key, stage in self._stages.items()
            }
        )
        self._ready: deque[Stage] = deque()
        self._running: dict[Future[tuple[_Made, list[str]]], Stage] = {}
        self._fault: Exception | None = None
        self._stop = get_context("spawn").RawValue(c_bool, False)  # a killed worker locks nothing
        load = partial(_stage_maker, runner.store.root, runner.threads, runner.workers, self._stop)
        self._pool: WorkerPool[_Order, _Made] = WorkerPool(
            load, workers=min(runner.workers, len(stages))
        )

    def run(self) -> None:
        """Make all; raise what went wrong first, when every worker has stopped."""
        self._runner.progress.start("stages", total=len(self._stages))
        self._sorter.prepare()
        with self._pool:
            while self._sorter.is_active() and (not self._stops() or self._running):
                self._ready.extend(self._stages[key] for key in self._sorter.get_ready())
                while self._ready and len(self._running) < self._runner.workers:
                    if self._stops():
                        break
                    self._attempt(self._start, self._ready.popleft())
                done, _ = wait(self._running, POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._attempt(self._collect, self._running.pop(future), future)
        self._runner.progress.finish()
        if self._fault is not None:
            raise self._fault
        if self._sorter.is_active():
            self._runner.stop_if_asked()

    def _stops(self) -> bool:
        self._stop.value = self._fault is not None or self._runner.should_stop()
        return bool(self._stop.value)

    def _start(self, stage: Stage) -> None:
        if b"__main__" in pickle.dumps(stage):  # of the user's script, which no worker imports
            self._runner.make(stage)
            self._sorter.done(stage.key)
            return
        others = bool(self._running or self._ready)
        self._running[self._pool.submit((stage, dict(self._runner.made), others))] = stage
        self._runner.progress.note(f"{stage.name}: started")

    def _collect(self, stage: Stage, future: Future[tuple[_Made, list[str]]]) -> None:
        (made, notes), told = future.result()
        for text in told:
            self._runner.progress.note(text)
        self._runner.made.update(made)
        self._runner.notes.extend(notes)
        self._runner.make(stage)  # verifies what the worker left in the store
        self._runner.after()
        self._sorter.done(stage.key)
        self._runner.progress.advance(1)

    def _attempt(self, step: Callable[..., None], stage: Stage, *given: object) -> None:
        """Take a step; keep the first fault: that others were stopped for it is only a note."""
        try:
            step(stage, *given)
        except BrokenProcessPool:
            if self._fault is None and not self._runner.should_stop():
                self._fault = self._pool.broken()
                self._fault.what = f"{stage.name}: {self._fault.what}"
                self._fault.kept = self._runner.kept
        except Exception as error:
            was_stopped = isinstance(self._fault, InterruptedRunError)
            if self._fault is None or (was_stopped and not isinstance(error, InterruptedRunError)):
                self._fault = error
            elif isinstance(error, AlignstudyError):
                self._runner.progress.note(f"{error.what}; kept: {error.kept}")


def _stage_maker(
    root: Path,
    threads: int | None,
    workers: int,
    stop: Any,  # noqa: ANN401
) -> Callable[[_Order, Callable[[str], None]], _Made]:
    """Return what makes one stage in a worker, with a runner of its own.

    Args:
        root: Of the store.
        threads: Of numeric stages; None: PyTorch's default.
        workers: Processes over which a stage that is alone may spread its texts.
        stop: Shared; its value says whether a stop was asked for.
    """
    runner = Runner(
        store=Store(root),
        device="cpu",
        threads=threads,
        workers=workers,
        should_stop=lambda: bool(stop.value),
    )

    def make(order: _Order, note: Callable[[str], None]) -> _Made:
        stage, made, runner.beside = order
        runner.progress, runner.made, runner.notes = NotesTo(note), dict(made), []
        runner.make(stage)
        return runner.made, runner.notes

    return make
