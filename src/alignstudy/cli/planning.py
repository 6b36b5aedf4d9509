"""How a plan is shown: stages with what each would take, totals, what won't fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.cli import console
from alignstudy.formatting import duration, plural, quantity
from alignstudy.study.api import Study
from alignstudy.study.cost.estimate import StageEstimate, StudyEstimate
from alignstudy.study.cost.fitting import GIB, card_size
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.settings.locate import Located
from alignstudy.study.stages.tuning import Choose, tuning_alone
from alignstudy.study.tools.check import seed_advice
from alignstudy.study.tools.power import prospects_in_words, sizes_asked

UNKNOWN = "not known yet"


def show_plan(
    study: Study, *, throughput: float | None = None, card: str | None = None, as_json: bool
) -> None:
    """Print a plan, and what its new stages would take on this machine.

    Args:
        study: What is planned.
        throughput: Of a machine, in TFLOP/s: how long it would compute is said, too.
        card: A card's memory, such as 24GiB: whether each stage fits it is said, too.
        as_json: Whether it is printed for scripts.
    """
    room = None if card is None else card_size(card)
    lines, located = study.plan()
    found = study.estimate(lines, arithmetic=throughput is not None, card=room)
    missing = _missing(located)
    if as_json:
        console.say_json(_as_json(study, lines, located, found, throughput))
        return
    if said := study.template_in_words(located):
        console.say(console.safe(said))
    for name in missing:
        console.say(f"fetch {console.safe(name)} from the hub")
    estimates = {each.stage: each for each in found.stages}
    rows = [
        [line.stage.name, line.state, *_cells(line.stage.name, estimates), line.why]
        for line in lines
    ]
    columns = ["time", "memory", "disk"] if estimates else []
    console.say_table(["stage", "state", *columns, "why"], rows)
    counts = {state: sum(line.state == state for line in lines) for state in ("cached", "new")}
    console.say(f"{counts['new']} stages to run, {counts['cached']} cached")
    say_totals(found)
    say_fits(found, room)
    say_arithmetic(found, throughput)
    if tuning := tuning_planned(lines, found):
        some = duration(float(tuning["seconds"]))
        console.say(
            f"tuning: {tuning['trials']} trials of each of {plural(tuning['methods'], 'method')}"
            f" (each place in a chain is one), {tuning['stages']} of the stages to run, {some} of"
            " the time as far as it is known"
        )
    for _, said in prospects_in_words(study.settings, sizes_asked(study.settings)):
        console.say(f"power: {console.safe(said)}")
    if study.settings.generation.engine == "openai":
        console.say("responses: by a server, which `check` and `run` look for before anything else")
    if advice := seed_advice(study.settings):
        console.say(f"seeds: {advice}")
    console.say(f"writes: {console.safe(study.folder)}")
    console.say(f"store: {console.safe(study.store.root)}")


def _missing(located: Located) -> list[str]:
    return [f"{source.name}@{source.revision or 'main'}" for source in located.missing.values()]


def _as_json(
    study: Study,
    lines: Sequence[PlanLine],
    located: Located,
    found: StudyEstimate,
    throughput: float | None,
) -> dict[str, Any]:
    """Return a plan for scripts."""
    totals = found.to_json()
    by_stage = {each.pop("stage"): each for each in totals.pop("stages")}
    stages = [
        {
            "stage": line.stage.name,
            "state": line.state,
            "why": line.why,
            "key": line.stage.key,
            "estimate": by_stage.get(line.stage.name),
        }
        for line in lines
    ]
    said = study.template_in_words(located)
    sizes = sizes_asked(study.settings)
    power = [words for _, words in prospects_in_words(study.settings, sizes)]
    whole: dict[str, Any] = {
        "folder": str(study.folder),
        "fetch": _missing(located),
        "template": said,
        "power": power,
        "tuning": tuning_planned(lines, found),
    }
    if throughput is not None:
        whole["hours_at_throughput"] = found.flops / (throughput * 1e12) / 3600
    return {**whole, "stages": stages, "estimate": totals}


def tuning_planned(lines: Sequence[PlanLine], found: StudyEstimate) -> dict[str, Any]:
    """Return what of a plan only chooses settings; {} where nothing is tuned.

    Args:
        lines: The plan.
        found: What its new stages would take.
    """
    chooses = [line.stage for line in lines if isinstance(line.stage, Choose)]
    if not chooses:
        return {}
    alone = tuning_alone([line.stage for line in lines])
    new = {line.stage.name for line in lines if line.stage.key in alone and line.state == "new"}
    return {
        "trials": len(chooses[0].trials),
        "methods": len(chooses),
        "stages": len(new),
        "seconds": round(sum(each.seconds or 0.0 for each in found.stages if each.stage in new), 1),
    }


def _cells(stage: str, estimates: dict[str, StageEstimate]) -> list[str]:
    """Write a stage's estimate; no cells where no stage is new."""
    found = estimates.get(stage)
    if found is None:
        return [""] * 3 if estimates else []
    return [
        UNKNOWN if found.seconds is None else f"{duration(found.seconds)} ({found.basis})",
        UNKNOWN if found.memory is None else quantity(found.memory, "B"),
        UNKNOWN if found.disk is None else quantity(found.disk + (found.working_disk or 0.0), "B"),
    ]


def say_fits(found: StudyEstimate, card: float | None) -> None:
    """Print which new stages fit a card, and how, equal ones together; nothing of no card."""
    if card is None:
        return
    by_fit: dict[str, list[str]] = {}
    for each in found.stages:
        if each.fit:
            by_fit.setdefault(each.fit, []).append(each.stage)
    console.say(f"on a card of {card / GIB:.4g} GiB (by formula, see docs/scaling.md):")
    for fit, stages in by_fit.items():
        console.say(f"  {console.safe(', '.join(stages))}: {console.safe(fit)}")


def say_arithmetic(found: StudyEstimate, throughput: float | None) -> None:
    """Print how much there is to compute, and how long that takes at a throughput in TFLOP/s."""
    if throughput is None:
        return
    least = "at least " if found.uncounted else ""
    seconds = duration(found.flops / (throughput * 1e12))
    said = (
        f"arithmetic: {least}{quantity(found.flops, 'FLOP')}, {seconds} at {throughput:g} TFLOP/s"
    )
    said += " (generation seldom reaches it)"
    if found.uncounted:
        some = ", ".join(found.uncounted[:3])
        said += f"; not counted: {plural(len(found.uncounted), 'stage')} ({some}, ...)"
    console.say(console.safe(said))


def say_totals(found: StudyEstimate) -> None:
    """Print what all new stages take together, and what is free."""
    if not found.stages:
        return
    least = "at least " if any(each.disk is None for each in found.stages) else ""
    if len(found.unknown) == len(found.stages):
        console.say(f"time: {UNKNOWN}, no stage like these ran on this machine before")
    elif found.unknown:
        stages = plural(len(found.unknown), "stage")
        console.say(f"time: at least {duration(found.seconds)}, {UNKNOWN} for {stages}")
    else:
        console.say(f"time: {duration(found.seconds)}, one stage after another")
    console.say(
        f"memory: {least}{quantity(found.memory, 'B')} of {quantity(found.free_memory, 'B')} free"
    )
    console.say(
        f"disk: {least}{quantity(found.disk, 'B')} at the fullest moment"
        f" of {quantity(found.free_disk, 'B')} free"
    )
    for warning in found.warnings:
        console.say(f"[bold yellow]warning:[/] {console.safe(warning)}")
