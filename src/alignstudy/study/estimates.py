"""What a study would take on this machine: seconds, memory and disk, with how sure that is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alignstudy.study.history import History
from alignstudy.study.machine_speed import free_bytes, machine_speed
from alignstudy.study.plan import PlanLine
from alignstudy.study.stage import Stage
from alignstudy.study.stage_loads import StageLoads, Unknown
from alignstudy.study.store import Store

FACTOR = 2.0
"""An estimate that rests on the probe alone may be off by so much, either way."""
SAMPLED = 1.3
"""The same of row counts that were extrapolated."""
LIBRARIES = 750e6
"""Bytes that Python holds with torch, transformers and TRL loaded."""
LEAN = 350e6
"""The same without them."""
LIBRARIES_SECONDS = 8.0
"""To load them, once a run."""


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
class StudyEstimate:
    """What all new stages would take together.

    Attributes:
        stages: In the order in which they run.
        seconds: Of those that are known, loading of libraries included.
        memory: Peak bytes of the largest known stage.
        disk: Bytes at the fullest moment: all that stays and the largest checkpoints.
        free_memory: Bytes that are free now, where `memory` is needed.
        free_disk: Bytes that are free now where the store lies.
        unknown: Names of the stages of which nothing is known.
        warnings: What won't fit, in words.
    """

    stages: tuple[StageEstimate, ...] = ()
    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    free_memory: int = 0
    free_disk: int = 0
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the same for scripts: seconds and bytes, whole numbers; null: not known."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}


def estimate(
    lines: Sequence[PlanLine], store: Store, *, device: str, threads: int | None, workers: int
) -> StudyEstimate:
    """Estimate the new stages of a plan; nothing is run but a probe of a second or two.

    Where nothing is new nothing is probed.

    Args:
        lines: The plan.
        store: Where what was made before lies.
        device: "cpu" or "cuda".
        threads: CPU threads of numeric stages; None: as many as torch likes.
        workers: Processes that generation and scoring are spread over.
    """
    new = [line.stage for line in lines if line.state == "new"]
    if not new:
        return StudyEstimate(free_disk=_free_disk(store.root))
    loads = StageLoads(store, device)
    speed = machine_speed(store, device, threads=threads)
    history = History(store, speed, workers=workers)
    holds = LIBRARIES if any(stage.numeric for stage in new) else LEAN
    found = tuple(_of(stage, loads, history, _own(stage, device, holds)) for stage in new)
    return _together(found, new, store, device)


def _of(stage: Stage, loads: StageLoads, history: History, own: float) -> StageEstimate:
    try:
        load = loads.of(stage)
    except Unknown as why:
        return StageEstimate(stage=stage.name, basis=f"unknown: {why}")
    told = history.predict(stage, load)
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
    """Give the bytes of the process itself: none where the accelerator's memory is the scarce."""
    return 0.0 if device != "cpu" and stage.numeric else holds


def _together(
    found: tuple[StageEstimate, ...], new: Sequence[Stage], store: Store, device: str
) -> StudyEstimate:
    known = [each for each in found if each.seconds is not None]
    start = LIBRARIES_SECONDS if any(stage.numeric for stage in new) else 0.0
    memory = max((each.memory or 0.0 for each in known), default=0.0)
    disk = sum(each.disk or 0.0 for each in known)
    disk += max((each.working_disk or 0.0 for each in known), default=0.0)
    room, free = free_bytes(device), _free_disk(store.root)
    return StudyEstimate(
        stages=found,
        seconds=round(start + sum(each.seconds or 0.0 for each in known), 1),
        low=round(start / FACTOR + sum(each.low or 0.0 for each in known), 1),
        high=round(start * FACTOR + sum(each.high or 0.0 for each in known), 1),
        memory=memory,
        disk=disk,
        free_memory=room,
        free_disk=free,
        unknown=tuple(each.stage for each in found if each.seconds is None),
        warnings=tuple(_warnings(memory, room, disk, free, store.root)),
    )


def _warnings(memory: float, room: int, disk: float, free: int, root: Path) -> list[str]:
    said = []
    if memory > room:
        said.append(
            f"memory: about {memory / 1e9:.1f} GB are needed and {room / 1e9:.1f} GB are free;"
            " use a smaller per_device_train_batch_size (or auto), or LoRA"
        )
    if disk > free:
        said.append(
            f"disk: about {disk / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free at"
            f" {root}; free some, or set ALIGNSTUDY_HOME"
        )
    return said


def _free_disk(root: Path) -> int:
    there = next(path for path in (root, *root.parents) if path.exists())
    return shutil.disk_usage(there).free
