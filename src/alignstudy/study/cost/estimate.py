"""What new stages would take: memory and disk by formula, seconds by what others took here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import AlignstudyError
from alignstudy.formatting import plural, quantity
from alignstudy.runtime.peak_memory import free_device_bytes
from alignstudy.runtime.pool import free_memory
from alignstudy.study.cost.history import History, predict, work_record
from alignstudy.study.cost.token_lengths import NotCountableError
from alignstudy.study.cost.work import total_flops
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.run.store import Store

SAMPLE = 400
"""Rows whose tokens are counted where a time is predicted."""
LIBRARIES = 750e6
"""Bytes that a process holds with torch, transformers and TRL loaded."""


@dataclass(frozen=True, kw_only=True)
class StageEstimate:
    """What one new stage would take; None: not known yet.

    Attributes:
        seconds: In proportion to what stages like it took on this machine.
        memory: Peak bytes, on the accelerator where it computes there.
        disk: Bytes that stay in the store.
        working_disk: Bytes of checkpoints that lie there meanwhile, besides.
        basis: What the seconds rest on.
    """

    stage: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None
    working_disk: float | None = None
    basis: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyEstimate:
    """What all new stages would take together; what isn't known counts as nothing.

    Attributes:
        stages: In the order in which they could run one by one.
        seconds: One after the other.
        memory: Peak bytes of the largest.
        disk: Bytes at the fullest moment: all that stays and the largest checkpoints.
        free_memory: Bytes that are free now, where `memory` is needed.
        free_disk: Bytes that are free now where the store lies.
        unknown: Names of the stages whose seconds are not known yet.
        warnings: What won't fit, in words.
    """

    stages: tuple[StageEstimate, ...] = ()
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    free_memory: int = 0
    free_disk: int = 0
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts: seconds and bytes; null: not known yet."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}


def estimate(lines: Sequence[PlanLine], store: Store, *, device: str) -> StudyEstimate:
    """Estimate the new stages of a plan; nothing is run.

    Args:
        lines: The plan.
        store: Where what was made before lies.
        device: "cpu" or "cuda".
    """
    free_disk = _free_disk(store.root)
    new = [line.stage for line in lines if line.state == "new"]
    if not new:
        return StudyEstimate(free_disk=free_disk)
    history = History(store.root)
    found = tuple(_of_stage(stage, store, history, device) for stage in new)
    memory = max(each.memory or 0.0 for each in found)
    disk = sum(each.disk or 0.0 for each in found)
    disk += max(each.working_disk or 0.0 for each in found)
    room = free_memory() if device == "cpu" else free_device_bytes(device)
    smaller = "use a smaller per_device_train_batch_size (or auto), or LoRA"
    warnings = []
    for what, needed, free, hint in (
        ("memory", memory, room, f"free; {smaller}"),
        ("disk", disk, free_disk, f"free at {store.root}; free some, or set ALIGNSTUDY_HOME"),
    ):
        if needed > free:
            some = f"about {quantity(needed, 'B')} needed, {quantity(free, 'B')}"
            warnings.append(f"{what}: {some} {hint}")
    return StudyEstimate(
        stages=found,
        seconds=round(sum(each.seconds or 0.0 for each in found), 1),
        memory=memory,
        disk=disk,
        free_memory=room,
        free_disk=free_disk,
        unknown=tuple(each.stage for each in found if each.seconds is None),
        warnings=tuple(warnings),
    )


def _of_stage(stage: Stage, store: Store, history: History, device: str) -> StageEstimate:
    runs, size = history.like(stage), stage.footprint()
    seconds = predict(runs, planned_flops(stage, store, sample=SAMPLE)) if runs else None
    libraries = LIBRARIES if device == "cpu" or not stage.numeric else 0.0
    return StageEstimate(
        stage=stage.name,
        seconds=None if seconds is None else round(seconds, 2),
        memory=None if size is None else round(size.memory + libraries),
        disk=None if size is None else round(size.disk),
        working_disk=None if size is None else round(size.working_disk),
        basis=plural(len(runs), "earlier run") if runs else "",
    )


def planned_flops(stage: Stage, store: Store, *, sample: int | None = None) -> float | None:
    """Count a stage's FLOPs before it runs; None where they aren't counted, or can't be yet.

    Args:
        stage: The stage.
        store: Where its finished inputs lie.
        sample: Training rows that lengths are measured on; None: all.
    """
    try:
        return total_flops(stage.planned_work(lambda needed: _folder(needed, store), sample=sample))
    except (NotCountableError, AlignstudyError, OSError, ValueError, LookupError, TypeError):
        return None  # a damaged input is told where it is used; here its tokens aren't known


def kept_work(stage: Stage, store: Store) -> dict[str, Any]:
    """Return what is kept with a stage that ran, for the estimates of later ones."""
    return work_record(stage, planned_flops(stage, store, sample=SAMPLE))


def _folder(stage: Stage, store: Store) -> Path:
    """Find a finished input; of a model not made yet, a folder with its tokenizer and shape."""
    made, other = store.peek(stage.kind, stage.key), stage.model_files()
    if made is not None and (other is stage or (made.folder / "config.json").is_file()):
        return made.folder  # an adapter's holds no configuration: its parent's does
    if isinstance(other, Path):
        return other
    if other is stage:
        raise NotCountableError(f"{stage.name} isn't made yet")
    return _folder(other, store)


def _free_disk(root: Path) -> int:
    there = next(path for path in (root, *root.parents) if path.exists())
    return shutil.disk_usage(there).free
