"""Verdicts on one model against another in a rate or a mean score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.claims.grounds import ClaimContext
from alignstudy.analysis.claims.rule import JudgeEvidence, Ruling, rule_better, rule_equivalent
from alignstudy.analysis.claims.words import (
    needed_in_words,
    pair_in_words,
    thresholds_in_words,
)
from alignstudy.analysis.results import Analysis
from alignstudy.formatting import percent
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.metric import Metric


@dataclass(frozen=True, kw_only=True)
class PairPart:
    """One figure of two models.

    Attributes:
        pair: The model that is said to be higher, and the other.
        equivalence: Whether it is said that they are alike.
        without: The flag of responses to leave out.
        in_sample: Whether only these responses are meant.
    """

    metric: Metric
    pair: tuple[str, str]
    margin: float
    equivalence: bool
    without: str | None
    in_sample: bool

    @property
    def words(self) -> str:
        """Write the part as a claim."""
        relation = "like" if self.equivalence else "higher than"
        return f"{self.pair[0]} {relation} {self.pair[1]} in {self.metric.title}"


def unmeasured(part: str, metric: Metric, grounds: ClaimContext) -> Verdict | None:
    """Return the verdict where no judge can tell; None where one can."""
    if grounds.valid(metric):
        return None
    told = []
    for axis in metric.axes:
        prompts = axis_named(axis).prompts
        for quality in grounds.findings.qualities:
            accuracy = quality.accuracy(axis)
            if axis in quality.below_floor and accuracy is not None:
                told.append(
                    f"{quality.judge} prefers the response that people preferred in"
                    f" {percent(accuracy.value)} of {accuracy.n} pairs on {prompts}"
                    f" prompts, interval from {percent(accuracy.low)}, floor"
                    f" {percent(quality.floor, 0)}"
                )
    why = "; ".join(told) or "no judge was found to be above the floor"
    return Verdict(claim=part, verdict="unmeasurable", evidence=f"judge below floor: {why}")


def sights_of(part: PairPart, grounds: ClaimContext) -> list[JudgeEvidence]:
    """Return what each valid judge's scores show; judges that measured nothing are left out."""
    found = []
    for analysis in grounds.valid(part.metric):
        pair = grounds.compare(analysis, part.metric, part.pair, part.without)
        if pair is None:
            continue
        tested = pair.p_value is not None and (part.margin > 0.0)
        p_value = (
            grounds.p_equivalent(
                analysis, part.metric, part.pair, margin=part.margin, without=part.without
            )
            if tested
            else None
        )
        found.append(
            JudgeEvidence(
                judge=analysis.judge,
                pair=pair,
                num_sets=len(part.metric.axes),
                p_equivalent=p_value,
            )
        )
    return found


def judge_pair(part: PairPart, grounds: ClaimContext) -> Verdict:
    """Return the verdict on one part of a claim."""
    below = unmeasured(part.words, part.metric, grounds)
    if below is not None:
        return below
    if part.without and not grounds.without_known(part.without):
        why = "it is not known why responses ended"
        return Verdict(claim=part.words, verdict="unmeasurable", evidence=why)
    sights = sights_of(part, grounds)
    if not sights:
        why = f"{part.metric.title} of {part.pair[0]} and {part.pair[1]} was not measured"
        return Verdict(claim=part.words, verdict="unmeasurable", evidence=why)
    analysis = next(a for a in grounds.findings.analyses if a.judge == sights[0].judge)
    values = _values(part, analysis, grounds)
    ruling = _rule(part, sights, values)
    said = [
        pair_in_words(
            sights,
            metric=part.metric,
            margin=part.margin,
            equivalence=part.equivalence,
            values=values,
        ),
        needed_in_words(ruling.n_needed, part.metric),
        "" if part.without else thresholds_in_words(analysis, part.metric, part.pair),
    ]
    return Verdict(
        claim=part.words,
        verdict=ruling.verdict,
        evidence="; ".join(text for text in said if text),
        n_needed=ruling.n_needed,
        prompts=grounds.deciding(part.metric, part.pair, without=part.without),
    )


def _rule(
    part: PairPart, sights: list[JudgeEvidence], values: tuple[float | None, float | None]
) -> Ruling:
    if part.in_sample and values[0] is not None and values[1] is not None:
        return Ruling("supported" if values[0] > values[1] + part.margin else "contradicted")
    if part.equivalence:
        return rule_equivalent(sights, part.margin)
    return rule_better(sights, part.margin)


def _values(
    part: PairPart, analysis: Analysis, grounds: ClaimContext
) -> tuple[float | None, float | None]:
    """Return the two models' own figures, each over all of its responses that count."""
    if part.without is not None:
        panel = grounds.panels(analysis, part.without)[part.metric.axes[0]]
        rates = [panel.passed[panel.row(m)] for m in part.pair] if panel.passed is not None else []
        first, second = (part.metric.of(row[~np.isnan(row)]) for row in rates)
        return first, second
    figures = {item.model: item.estimates.get(part.metric.name) for item in analysis.models}
    ours, theirs = (figures.get(model) for model in part.pair)
    return (ours.value if ours else None, theirs.value if theirs else None)


def points_other_way(part: PairPart, grounds: ClaimContext) -> bool:
    """Tell whether, with every valid judge, the sample itself is the other way round."""
    sights = sights_of(part, grounds)
    return bool(sights) and all(sight.pair.difference.value < 0.0 for sight in sights)
