"""What stages took before, as their artefacts say: what the seconds of new ones rest on."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from alignstudy.study.graph.stage import Stage
from alignstudy.study.provenance import machine

LATEST = 8
"""Earlier runs that a median is taken over."""
SIMILAR = 4.0
"""Models whose numbers of parameters differ by a larger factor are not compared."""


class _Run(NamedTuple):
    started: str
    like: str
    seconds: float
    parameters: float
    flops: float


def work_record(stage: Stage, flops: float | None) -> dict[str, Any]:
    """Return what is kept with a finished stage, so that later ones can be compared with it."""
    size = stage.footprint()
    return {
        "like": f"{stage.likeness()} on {machine()['processor']}, {machine()['cores']} cores",
        "parameters": size.shape.parameters if size and size.shape else 1,
        "planned_flops": flops or 0.0,
    }


class History:
    """Times of the stages that ran on this machine and whose artefacts lie in a store.

    Artefacts that can't be read, or don't say it, are passed over.

    Args:
        root: Of the store.
    """

    def __init__(self, root: Path) -> None:
        found = (_run(path) for path in (root / "store").glob("*/*/manifest.json"))
        self._runs = sorted(run for run in found if run is not None)

    def like(self, stage: Stage) -> list[_Run]:
        """Return the latest runs of stages like this one, with models of similar size."""
        asked = work_record(stage, None)
        return [
            run
            for run in self._runs
            if run.like == asked["like"]
            and 1 / SIMILAR <= run.parameters / asked["parameters"] <= SIMILAR
        ][-LATEST:]


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


def _run(path: Path) -> _Run | None:
    """Read an artefact's record; None where it has none, or one of another kind or release."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
        work, started = facts["work"], str(facts["started"])
        numbers = facts["seconds"], work["parameters"], work["planned_flops"]
        run = _Run(started, str(work["like"]), *map(float, numbers))
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    sane = all(map(isfinite, run[2:])) and run.seconds > 0 and run.flops >= 0
    return run if sane else None
