"""How stages would go on this machine: what each takes, and in how many processes at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from alignstudy.runtime.spreading import SHARE, START_UP, free_memory
from alignstudy.study.cost.history import History
from alignstudy.study.cost.machine_speed import machine_speed
from alignstudy.study.cost.stage_loads import StageLoads, Unknown
from alignstudy.study.cost.workload import Load
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.schedule import Chore, Timetable, timetable
from alignstudy.study.run.store import Store

FACTOR = 2.0
"""An estimate that rests on the probe alone may be off by so much, either way."""
SAMPLED = 1.3
"""The same of row counts that were extrapolated."""
LIBRARIES = 750e6
"""Bytes that Python holds with torch, transformers and TRL loaded."""
LEAN = 350e6
"""The same without them."""
PAYS = 0.95
"""More processes at a time have to save so much: estimates are no surer."""


@dataclass(frozen=True, kw_only=True)
class StageEstimate:
    """What one new stage would take.

    Attributes:
        seconds: Likeliest; None where it can't be known.
        low: Lower end of what is plausible.
        high: Upper end.
        memory: Peak bytes, on the accelerator where it computes there; None as above.
        disk: Bytes that stay in the store.
        working_disk: Bytes of checkpoints that lie there meanwhile, besides.
        basis: What the times rest on; where nothing is known, why.
    """

    stage: str
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    memory: float | None = None
    disk: float | None = None
    working_disk: float | None = None
    basis: str = ""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """How stages would go on this machine.

    Attributes:
        stages: In the order in which they could be made one by one.
        hands: Processes in which stages are made side by side.
        spread: Processes over which each of them may spread its texts.
        seconds: Until the last one is made; stages of which nothing is known count as nothing.
        low: Lower end of what is plausible.
        high: Upper end.
        memory: Most bytes held at once, of the known ones.
    """

    stages: tuple[StageEstimate, ...]
    hands: int
    spread: int
    seconds: float
    low: float
    high: float
    memory: float


def outlook(
    stages: Sequence[Stage], store: Store, *, device: str, threads: int | None, workers: int
) -> Outlook:
    """Return what stages would take, in as many processes at a time as pay.

    Args:
        stages: That are missing, each after those that it needs.
        store: Where what was made before lies.
        device: "cpu" or "cuda".
        threads: CPU threads of numeric stages; None: as many as torch likes.
        workers: Processes that stages, generation and scoring may be spread over.
    """
    loads = StageLoads(store, device)
    history = History(store, machine_speed(store, device, threads=threads))
    holds = LIBRARIES if any(stage.numeric for stage in stages) else LEAN
    counted = [(stage, _load(stage, loads), _own(stage, device, holds)) for stage in stages]
    best: Outlook | None = None
    for hands in _hands(workers if device == "cpu" else 1):
        spread = max(1, workers // hands)
        found = tuple(_of(*each, history, workers=spread) for each in counted)
        other = _outlook(stages, found, hands=hands, spread=spread, device=device)
        if best is None or other.seconds < PAYS * best.seconds:
            best = other
    assert best is not None
    return best


def _hands(most: int) -> list[int]:
    """Return the numbers of processes to look at: 1, 2, 4 ... and all."""
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


def chores_of(stages: Sequence[Stage], found: Sequence[StageEstimate]) -> list[Chore]:
    """Write stages, with what each takes, as chores that may be made side by side."""
    return [
        Chore(
            key=stage.key, needs=frozenset(needed.key for needed in stage.inputs()),
            seconds=each.seconds or 0.0, memory=each.memory,
        )
        for stage, each in zip(stages, found, strict=True)
    ]  # fmt: skip


def room_for_stages() -> float:
    """Return the bytes that stages at work may hold together."""
    return SHARE * free_memory()


def _outlook(
    stages: Sequence[Stage],
    found: tuple[StageEstimate, ...],
    *,
    hands: int,
    spread: int,
    device: str,
) -> Outlook:
    room = room_for_stages() if device == "cpu" else math.inf
    chores = chores_of(stages, found)

    def table(of: Callable[[StageEstimate], float | None]) -> Timetable:
        timed = [
            replace(chore, seconds=of(each) or 0.0)
            for chore, each in zip(chores, found, strict=True)
        ]
        return timetable(timed, hands=hands, start_up=START_UP, room=room)

    likeliest = table(lambda each: each.seconds)
    return Outlook(
        stages=found, hands=hands, spread=spread, seconds=likeliest.seconds,
        low=table(lambda each: each.low).seconds, high=table(lambda each: each.high).seconds,
        memory=likeliest.memory,
    )  # fmt: skip


def _load(stage: Stage, loads: StageLoads) -> Load | str:
    """Count a stage's work; or say why it can't be known."""
    try:
        return loads.of(stage)
    except Unknown as why:
        return f"unknown: {why}"


def _of(
    stage: Stage, load: Load | str, own: float, history: History, *, workers: int
) -> StageEstimate:
    if isinstance(load, str):
        return StageEstimate(stage=stage.name, basis=load)
    told = history.predict(stage, load, workers=workers)
    factor = told.factor or FACTOR * (1.0 if load.exact else SAMPLED)
    return StageEstimate(
        stage=stage.name,
        seconds=round(told.seconds, 2),
        low=round(told.seconds / factor, 2),
        high=round(told.seconds * factor, 2),
        memory=round(load.memory + own),
        disk=round(load.disk),
        working_disk=round(load.working_disk),
        basis=told.basis,
    )


def _own(stage: Stage, device: str, holds: float) -> float:
    """Return the bytes of the process itself: none where the accelerator's memory is the scarce."""
    return 0.0 if device != "cpu" and stage.numeric else holds
