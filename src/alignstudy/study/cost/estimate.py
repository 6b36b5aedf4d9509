"""What new stages would take: memory and disk by formula, seconds by what others took here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from alignstudy.errors import AlignstudyError
from alignstudy.formatting import plural, quantity
from alignstudy.methods import TrainingSettings
from alignstudy.runtime.device import free_device_bytes
from alignstudy.runtime.pool import free_memory
from alignstudy.study.cost.fitting import GIB, fit, nearest_that_fits
from alignstudy.study.cost.token_lengths import NotCountableError
from alignstudy.study.cost.work import total_flops
from alignstudy.study.graph.stage import Stage
from alignstudy.study.provenance import machine
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.run.store import Store

LATEST = 8
"""Earlier runs that a median is taken over."""
SIMILAR = 4.0
"""Models whose numbers of parameters differ by a larger factor are not compared."""
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
        flops: Floating-point operations of its models; None: it has none, or they can't be counted.
        fit: How it fits the card that was asked about, in words; "": it computes on none, its
            size isn't known, or none was asked about.
    """

    stage: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None
    working_disk: float | None = None
    basis: str = ""
    flops: float | None = None
    fit: str = ""


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
        flops: Floating-point operations, as far as they can be counted.
        uncounted: Names of the stages that compute with a model, and whose FLOPs can't be counted.
        warnings: What won't fit, in words.
    """

    stages: tuple[StageEstimate, ...] = ()
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    free_memory: int = 0
    free_disk: int = 0
    unknown: tuple[str, ...] = ()
    flops: float = 0.0
    uncounted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts: seconds and bytes; null: not known yet."""
        return asdict(self)


def estimate(
    lines: Sequence[PlanLine],
    store: Store,
    *,
    device: str,
    arithmetic: bool = False,
    card: float | None = None,
) -> StudyEstimate:
    """Estimate the new stages of a plan; nothing is run.

    Args:
        lines: The plan.
        store: Where what was made before lies.
        device: "cpu" or "cuda".
        arithmetic: Whether all FLOPs are counted, which takes a while; else what time follows from.
        card: Bytes of memory of a card that it is to fit; None: no card is asked about.
    """
    free_disk = _free_disk(store.root)
    new = [line.stage for line in lines if line.state == "new"]
    if not new:
        return StudyEstimate(free_disk=free_disk)
    history = History(store.root)
    found = tuple(history.estimate(stage, store, device, count=arithmetic) for stage in new)
    if card is not None:
        fits = (fit_in_words(stage, card) for stage in new)
        found = tuple(replace(each, fit=said) for each, said in zip(found, fits, strict=True))
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
        flops=sum(each.flops or 0.0 for each in found),
        uncounted=tuple(
            each.stage
            for each, stage in zip(found, new, strict=True)
            if each.flops is None and type(stage).planned_work is not Stage.planned_work
        ),
        warnings=tuple(warnings),
    )


def fit_in_words(stage: Stage, card: float) -> str:
    """Say how a stage fits a card's memory; "" where it computes on none, or can't be told.

    Args:
        stage: New or not.
        card: Bytes.
    """
    footprint = stage.footprint()
    if footprint is None or footprint.shape is None or not footprint.length:
        return ""
    found, settings = fit(footprint, card), getattr(stage, "settings", None)
    said = f"{found.words}: {found.memory / GIB:.1f} GiB"
    if found.fits:
        rows = found.footprint.rows // found.footprint.texts
        return said if rows == footprint.rows // footprint.texts else f"{said}, {rows} at a time"
    if isinstance(settings, TrainingSettings):
        nearest = nearest_that_fits(settings, footprint, card)
        return f"{said}; {nearest or 'a smaller model'} would"
    half = replace(footprint, dtype="bfloat16")
    if _dtype_of(stage) == "float32" and fit(half, card).fits:
        return f"{said}; dtype: bfloat16 would"
    return f"{said}; a smaller model would"


def _dtype_of(stage: Stage) -> str | None:
    """Return the precision that a stage's settings ask of weights; None: they have no say."""
    judge = getattr(stage, "judge", None)
    settings = getattr(stage, "settings", None) if judge is None else judge.settings
    return getattr(settings, "dtype", None)


class _Run(NamedTuple):
    started: str
    like: str
    seconds: float
    parameters: float
    flops: float


class History:
    """Times of the stages that ran on this machine and whose artefacts lie in a store.

    Artefacts that are damaged, or don't say it, are passed over.

    Args:
        root: Of the store.
    """

    def __init__(self, root: Path) -> None:
        found = (_run(made.facts) for made in Store(root).records())
        self._runs = sorted(run for run in found if run is not None)
        self._paces: dict[str, float | None] = {}

    def like(self, stage: Stage) -> list[_Run]:
        """Return the latest runs of stages like this one, with models of similar size."""
        asked = work_record(stage, None)
        return [
            run
            for run in self._runs
            if run.like == asked["like"]
            and 1 / SIMILAR <= run.parameters / asked["parameters"] <= SIMILAR
        ][-LATEST:]

    def pace(self, stage: Stage) -> float | None:
        """Return the seconds a FLOP of stages like this one, their median; None: none ran."""
        if stage.key not in self._paces:
            found = [run.seconds / run.flops for run in self.like(stage) if run.flops]
            self._paces[stage.key] = median(found) if found else None
        return self._paces[stage.key]

    def estimate(
        self, stage: Stage, store: Store, device: str, *, count: bool = False
    ) -> StageEstimate:
        """Estimate one new stage; FLOPs are counted where seconds follow from them, or if asked."""
        runs, size = self.like(stage), stage.footprint()
        flops = planned_flops(stage, store) if runs or count else None
        seconds = predict(runs, flops) if runs else None
        libraries = LIBRARIES if device == "cpu" or not stage.numeric else 0.0
        return StageEstimate(
            stage=stage.name,
            seconds=None if seconds is None else round(seconds, 2),
            memory=None if size is None else round(size.memory(on_gpu=device != "cpu") + libraries),
            disk=None if size is None else round(size.disk),
            working_disk=None if size is None else round(size.working_disk),
            basis=plural(len(runs), "earlier run") if runs else "",
            flops=flops,
        )


def work_record(stage: Stage, flops: float | None) -> dict[str, Any]:
    """Return what is kept with a finished stage, so that later ones can be compared with it."""
    size = stage.footprint()
    return {
        "like": f"{stage.likeness()} on {machine()['processor']}, {machine()['cores']} cores",
        "parameters": size.shape.parameters if size and size.shape else 1,
        "planned_flops": flops or 0.0,
    }


def predict(runs: list[_Run], flops: float | None) -> float | None:
    """Predict the seconds of a stage; None where nothing like it ran.

    Args:
        runs: Of stages like it.
        flops: That are planned: seconds are in proportion to them. None: it has no model, or they
            can't be counted yet; then it takes what the others took.
    """
    sized = [run.seconds / run.flops for run in runs if run.flops]
    if flops and sized:
        return flops * median(sized)
    return median(run.seconds for run in runs) if runs else None


def _run(facts: Mapping[str, Any]) -> _Run | None:
    """Read what is kept of a finished stage; None where that is of another kind or release."""
    try:
        work, started = facts["work"], str(facts["started"])
        numbers = facts["seconds"], work["parameters"], work["planned_flops"]
        run = _Run(started, str(work["like"]), *map(float, numbers))
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
    sane = all(map(isfinite, run[2:])) and run.seconds > 0 and run.flops >= 0
    return run if sane else None


def planned_flops(stage: Stage, store: Store) -> float | None:
    """Count a stage's FLOPs before it runs; None where they aren't counted, or can't be yet."""
    try:
        return total_flops(stage.planned_work(lambda needed: _folder(needed, store)))
    except (NotCountableError, AlignstudyError, OSError, ValueError, LookupError, TypeError):
        return None  # a damaged input is told where it is used; here its tokens aren't known


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
