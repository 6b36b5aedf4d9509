"""Stamps: what a reader must see before any figure, because it decides what the figure is worth."""

from __future__ import annotations

from alignstudy.analysis.findings import Findings
from alignstudy.data.audit.audit import loss_in_words
from alignstudy.formatting import NO_BREAK, interval, listing, percent, short
from alignstudy.records import Axis, Estimate
from alignstudy.report.inputs import ReportInputs


def stamped_axes(findings: Findings, judge: str) -> tuple[Axis, ...]:
    """Return the axes on which a judge lies below its floor; verdicts go by the same rule."""
    return tuple(axis for axis in findings.first.axes if findings.is_below_floor(judge, axis.name))


def run_stamp(inputs: ReportInputs) -> str:
    """Return that a run isn't whole, or its data mostly isn't read; "" if both are."""
    partial = inputs.partial.strip().rstrip(".")
    said = [f"Partial: {partial}. Figures are of what is there."] if partial else []
    lost = filter(None, map(loss_in_words, inputs.audits))
    return " ".join([*said, *(f"Data lost: {each}." for each in lost)])


def judge_stamps(findings: Findings) -> tuple[str, ...]:
    """Return which judges are below their floor, on which axes, and what that touches."""
    first = findings.first
    rates = {
        a.name: [rate.title for rate in first.rates if a.name in rate.axes] for a in first.axes
    }
    return tuple(
        f"Judge below floor: on {axis.prompts} prompts {listing([*rates[axis.name], 'scores'])} by"
        f" the judge {judge} say little."
        for judge in (item.judge for item in findings.analyses)
        if not findings.is_baseline(judge)
        for axis in stamped_axes(findings, judge)
    )


def stamp_in_words(findings: Findings) -> str:
    """Return in one clause on which axes the leading judge says nothing; "" if on none."""
    judge = findings.first.judge
    axes = stamped_axes(findings, judge)
    if not axes:
        return ""
    names = listing([axis.prompts for axis in axes])
    said = f"on {names} prompts nothing can be said: there the judge {judge}"
    quality = findings.quality(judge)
    if quality is None:
        return f"{said} is made of judges that are all below their floor"
    floor = f"the floor of {short(quality.floor, 1)}{NO_BREAK}%"
    known = [found for axis in axes if (found := quality.accuracy(axis.name))]
    if len(known) < len(axes):
        return f"{said} was not found to be above {floor}"
    shares = listing([accuracy_in_words(accuracy) for accuracy in known])
    return f"{said} picks the preferred answer in {shares}, not surely above {floor}"


def accuracy_in_words(accuracy: Estimate) -> str:
    """Write a pairwise accuracy: `56.4 % of pairs [54.4, 58.5]`."""
    return f"{percent(accuracy.value)} of pairs {interval(accuracy, 1)}"
