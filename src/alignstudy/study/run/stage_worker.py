"""The far end of work side by side: a process that makes one stage after the other."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store


@dataclass(frozen=True, kw_only=True)
class StageOrder:
    """A stage that a worker is to make.

    Attributes:
        executed: Names of the stages that the run has made: what an error says is kept.
        made: Their keys.
        spread: Processes that the stage may spread its texts over.
        beside: Whether other stages are at work meanwhile.
    """

    stage: Stage
    executed: tuple[str, ...]
    made: frozenset[str]
    spread: int
    beside: bool


@dataclass(frozen=True, kw_only=True)
class StageMade:
    """What a worker did: names and keys of the stages that it ran, and what there is to know."""

    executed: tuple[str, ...]
    made: frozenset[str]
    notes: tuple[str, ...]


class _Relayed:
    """Tells the other process how it goes."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell = tell

    def start(self, what: str, total: int | None = None) -> None:
        self._tell(("start", (what, total), {}))

    def advance(self, done: int, **figures: float) -> None:
        self._tell(("advance", (done,), figures))

    def finish(self) -> None:
        self._tell(("finish", (), {}))

    def note(self, text: str) -> None:
        self._tell(("note", (text,), {}))


def stage_maker(
    root: Path, threads: int | None
) -> Callable[[StageOrder, Callable[[Any], None]], StageMade]:
    """Be the worker's end: give what makes one stage with a runner of this process.

    Args:
        root: Of the store.
        threads: Of numeric stages; None: as many as torch likes.
    """
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    runner = Runner(store=Store(root), device="cpu", threads=threads, should_stop=asked.is_set)

    def make(order: StageOrder, tell: Callable[[Any], None]) -> StageMade:
        runner.progress = _Relayed(tell)
        runner.spread, runner.beside = order.spread, order.beside
        runner.executed, runner.notes = list(order.executed), []
        runner.count_as_made(order.made)
        before = runner.made
        runner.make(order.stage)
        return StageMade(
            executed=tuple(runner.executed[len(order.executed) :]),
            made=runner.made - before,
            notes=tuple(runner.notes),
        )

    return make
