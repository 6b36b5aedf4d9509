"""Stamps: what a reader must see before any figure, because it decides what the figure is worth."""

from __future__ import annotations

from alignstudy.analysis.findings import Findings
from alignstudy.formatting import NO_BREAK, listing, number, percent, short
from alignstudy.records import Axis, Estimate
from alignstudy.records.evidence import JudgeQuality
from alignstudy.report.inputs import ReportInputs

AXIS_OF_METRIC = {
    "hmr": (Axis.HARMLESS,),
    "hpr": (Axis.HELPFUL,),
    "cas": (Axis.HARMLESS, Axis.HELPFUL),
    "score_harmless": (Axis.HARMLESS,),
    "score_helpful": (Axis.HELPFUL,),
}
"""The prompt sets that a metric rests on."""

_METRICS = {Axis.HARMLESS: "HmR, CAS and scores", Axis.HELPFUL: "HpR, CAS and scores"}


def stamped_axes(findings: Findings, judge: str) -> tuple[Axis, ...]:
    """Return the axes on which a judge lies below its floor; verdicts go by the same rule."""
    return tuple(axis for axis in Axis if findings.is_below_floor(judge, axis))


def is_stamped(findings: Findings, judge: str, metric: str) -> bool:
    """Return whether a metric rests on an axis where its judge is below its floor."""
    stamped = stamped_axes(findings, judge)
    return any(axis in stamped for axis in AXIS_OF_METRIC.get(metric, ()))


def run_stamp(inputs: ReportInputs) -> str:
    """Say that a run isn't whole; "" if it is."""
    partial = inputs.partial.strip().rstrip(".")
    return f"Partial: {partial}. Figures are of what is there." if partial else ""


def judge_stamps(findings: Findings) -> tuple[str, ...]:
    """Return which judges are below their floor, on which axes, and what that touches."""
    judges = [a.judge for a in findings.analyses if not findings.is_baseline(a.judge)]
    return tuple(
        f"Judge below floor: on {axis.prompts_name} prompts {_METRICS[axis]} by the judge {judge}"
        " say little."
        for judge in judges
        for axis in stamped_axes(findings, judge)
    )


def stamp_in_words(findings: Findings) -> str:
    """Say in one sentence which axes of the leading judge are stamped; "" if none is."""
    judge = findings.first.judge
    axes = stamped_axes(findings, judge)
    if not axes:
        return ""
    names = listing([axis.prompts_name for axis in axes])
    told = listing([_accuracy(findings.quality(judge), axis) for axis in axes])
    return f"Figures on {names} prompts are stamped: there the judge {judge} {told}."


def _accuracy(quality: JudgeQuality | None, axis: Axis) -> str:
    """Return how often a judge agrees with people, and what the floor is."""
    if quality is None:
        return "is made of judges that are all below their floor"
    floor = f"the floor of {short(quality.floor, 1)}{NO_BREAK}%"
    accuracy = quality.accuracy(axis)
    if accuracy is None:
        return f"was not found to be above {floor}"
    return f"agrees with people on {accuracy_in_words(accuracy)}, not surely above {floor}"


def accuracy_in_words(accuracy: Estimate) -> str:
    """Write a pairwise accuracy: `56.4 % of pairs [54.4, 58.5]`."""
    ends = f"[{number(accuracy.low, 1)}, {number(accuracy.high, 1)}]"
    return f"{percent(accuracy.value)} of pairs {ends}"
