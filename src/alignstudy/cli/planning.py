"""How a plan is shown: stages with what each would take, totals, what won't fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.cli import console
from alignstudy.formatting import duration, quantity
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.run.plan import as_json as plan_json

if TYPE_CHECKING:
    from alignstudy.study.cost.estimates import StudyEstimate
    from alignstudy.study.cost.outlook import StageEstimate


def as_json(
    folder: Path, missing: Sequence[str], lines: list[PlanLine], found: StudyEstimate
) -> dict[str, Any]:
    """Write a plan for scripts: each new stage with its estimate, and the totals."""
    totals = found.to_json()
    by_stage = {each.pop("stage"): each for each in totals.pop("stages")}
    stages = [{**line, "estimate": by_stage.get(line["stage"])} for line in plan_json(lines)]
    return {"folder": str(folder), "fetch": list(missing), "stages": stages, "estimate": totals}


def say_stages(lines: Sequence[PlanLine], found: StudyEstimate) -> None:
    """Print the stages; estimates only where one is new."""
    by_stage = {each.stage: each for each in found.stages}
    columns = ["stage", "state"]
    if by_stage:
        columns += ["time", "memory", "disk", "estimated from"]
    rows = [
        [line.stage.name, line.state]
        + (_cells(by_stage.get(line.stage.name)) if by_stage else [])
        + [line.why]
        for line in lines
    ]
    console.say_table([*columns, "why"], rows)


def _cells(found: StageEstimate | None) -> list[str]:
    if found is None:
        return [""] * 4
    if found.seconds is None or found.low is None or found.high is None:
        return ["unknown", "unknown", "unknown", found.basis.removeprefix("unknown: ")]
    return [
        f"{duration(found.seconds)} ({_range(found.low, found.high)})",
        quantity(found.memory or 0.0, "B"),
        quantity((found.disk or 0.0) + (found.working_disk or 0.0), "B"),
        found.basis,
    ]


def _range(low: float, high: float) -> str:
    return f"{duration(low)} to {duration(high)}"


def say_totals(found: StudyEstimate) -> None:
    """Print what all new stages take together, beside what is free."""
    if not found.stages:
        return
    if len(found.unknown) < len(found.stages):
        least = "at least " if found.unknown else ""
        several = f", in {found.processes} processes" if found.processes > 1 else ""
        console.say(
            f"estimate for this machine: {least}{duration(found.seconds)}"
            f" ({_range(found.low, found.high)}){several}"
        )
        room = f" of {quantity(found.free_memory, 'B')} free" if found.free_memory else ""
        console.say(f"memory: {least}{quantity(found.memory, 'B')}{room}")
        console.say(
            f"disk: {least}{quantity(found.disk, 'B')} at the fullest moment"
            f" of {quantity(found.free_disk, 'B')} free"
        )
    if found.unknown:
        console.say(f"of {len(found.unknown)} stages nothing can be known yet")
    for warning in found.warnings:
        console.say(f"[bold yellow]warning:[/] {console.safe(warning)}")
