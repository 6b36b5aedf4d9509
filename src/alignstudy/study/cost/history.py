"""What stages of the same kind took on this machine before, set against what was predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from alignstudy.runtime.spreading import START_UP
from alignstudy.study.cost.workload import Load, Speed, load_from_json
from alignstudy.study.graph.stage import Stage
from alignstudy.study.provenance import machine
from alignstudy.study.run.store import Artefact, Store
from alignstudy.study.stages.generate import Generate, ScoreResponses
from alignstudy.study.stages.score import Assess, Calibrate, JudgeSpec
from alignstudy.study.stages.train import Train

LATEST = 8
"""Runs of a kind that are looked at."""
LEAST_FACTOR = 1.25
"""Equal work differs by so much from run to run on a machine that others use too."""
SPREAD = (Generate, ScoreResponses, Calibrate, Assess)
"""Stages whose work is spread over processes."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A prediction.

    Attributes:
        factor: How far off it may be either way; None where nothing was measured.
        basis: What it rests on, in words.
    """

    seconds: float
    factor: float | None
    basis: str


class History:
    """Predicts times: by this machine's speed, corrected by what earlier stages really took.

    Args:
        store: Where earlier stages' facts lie.
        speed: This machine's.
    """

    def __init__(self, store: Store, speed: Speed) -> None:
        self._store, self._speed = store, speed

    def predict(self, stage: Stage, load: Load, *, workers: int) -> Told:
        """Predict a stage's seconds; its texts may be spread over so many processes."""
        plain = seconds_of(stage, load, self._speed, workers=workers)
        ratios = self._ratios.get(mark(stage), [])
        if not ratios:
            return Told(seconds=plain, factor=None, basis=self._speed.basis)
        middle = median(ratios)
        spread = max(max(ratios) / middle, middle / min(ratios))
        told = "an earlier run" if len(ratios) == 1 else f"{len(ratios)} earlier runs"
        factor = max(LEAST_FACTOR, spread) if len(ratios) > 1 else 1.5
        return Told(seconds=plain * middle, factor=factor, basis=f"{told} of its kind here")

    @cached_property
    def _ratios(self) -> Mapping[str, list[float]]:
        """Return measured over predicted seconds by kind of work, the latest runs only."""
        found: dict[str, list[tuple[str, float]]] = defaultdict(list)
        here = machine_mark()
        for facts in _facts(self._store):
            work = facts["work"]
            load = load_from_json(work["load"])
            if load is None or work["machine"] != here or work["resumed"]:
                continue
            plain = predicted(load, self._speed, spread=work["spread"])
            found[work["of"]].append((facts["started"], facts["seconds"] / plain))
        return {
            name: [ratio for _, ratio in sorted(ratios)[-LATEST:]] for name, ratios in found.items()
        }


def _facts(store: Store) -> Iterator[dict[str, Any]]:
    """Return the facts of the artefacts that say what work they were."""
    for path in sorted((store.root / "store").glob("*/*/manifest.json")):
        artefact: Artefact | None = store.peek(path.parent.parent.name, path.parent.name)
        if artefact is not None and artefact.facts.get("work") and artefact.facts["seconds"]:
            yield artefact.facts


def seconds_of(stage: Stage, load: Load, speed: Speed, *, workers: int) -> float:
    """Predict by the machine's speed alone."""
    return predicted(load, speed, spread=workers if isinstance(stage, SPREAD) else 1)


def predicted(load: Load, speed: Speed, *, spread: int) -> float:
    """Predict the wall-clock seconds of work that so many processes share where that pays.

    At least a hundredth of a second.
    """
    work = load.time(speed) - load.seconds
    return max(0.01, load.seconds + min(work, work / max(1, spread) + START_UP))


def mark(stage: Stage) -> str:
    """Name the kind of work, so that like is compared with like."""
    words = [stage.kind, stage.device_class]
    if isinstance(stage, Train):
        settings = stage.settings
        words += [settings.method, settings.precision, "lora" if settings.lora else "full"]
    judge = getattr(stage, "judge", None)
    if isinstance(judge, JudgeSpec):
        words.append(judge.settings.use)
    return " ".join(filter(None, words))


def machine_mark() -> str:
    """Name this machine as far as it decides times."""
    facts = machine()
    return f"{facts['processor']}, {facts['cores']} cores"


def work_record(stage: Stage, load: Load, *, workers: int, resumed: bool) -> dict[str, Any]:
    """Write what a finished stage was, for later estimates."""
    return {
        "of": mark(stage),
        "machine": machine_mark(),
        "spread": workers if isinstance(stage, SPREAD) else 1,
        "resumed": resumed,
        "load": load.to_json(),
    }
