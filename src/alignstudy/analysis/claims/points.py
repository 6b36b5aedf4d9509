"""Verdicts on what describes a sample: medians, spreads and ends of scores, and bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.claims.claims import JUDGE_ACCURACY, Claim, Verdict, claimable, is_point
from alignstudy.analysis.claims.grounds import DRAWS, ClaimContext, PairPart
from alignstudy.analysis.claims.rule import rule_bound
from alignstudy.analysis.claims.words import estimate_in_words, value_in_words
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.formatting import interval, number
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.rates import HIGHEST, LOWEST
from alignstudy.records import Estimate

_DRAWS = DRAWS // 2

_ENDS = {LOWEST.kind, HIGHEST.kind}
"""The ends of a sample: they have no interval."""


@dataclass(frozen=True)
class _Point:
    """A statistic of two models' scores by one judge; the difference if it has an interval."""

    judge: str
    values: tuple[float, float]
    difference: Estimate | None


def judge_point_pair(part: PairPart, grounds: ClaimContext) -> Verdict:
    """Return the verdict on which of two models has the higher median, spread or end of scores.

    False in the sample of every valid judge: contradicted. True, and the interval of the difference
    (prompts drawn again) lies beyond the margin: supported; the ends of a sample have no interval
    and are taken as they are.
    """
    below = grounds.below_floor(part.words, part.metric)
    if below is not None:
        return below
    seen = _points(part, grounds)
    if not seen:
        return part.unmeasurable()
    margin, verdict = part.claim.margin, "not supported"
    holds = [point.values[0] > point.values[1] + margin for point in seen]
    shown = all(point.difference is None or point.difference.low > margin for point in seen)
    if not any(holds):
        verdict = "contradicted"
    elif all(holds) and (part.claim.in_sample or shown):
        verdict = "supported"
    said: list[str] = []
    for point in seen:
        name = f"with {point.judge}: " if said else f"{part.metric.title} "
        ours, theirs = (value_in_words(value, part.metric) for value in point.values)
        said.append(f"{name}{part.pair[0]} {ours}, {part.pair[1]} {theirs}")
        if point.difference is not None:
            gap = number(point.difference.value, 2, signed=True)
            said[-1] += f": {gap} {interval(point.difference, 2)}"
    return Verdict(claim=part.words, verdict=verdict, evidence="; ".join(said))


def _points(part: PairPart, grounds: ClaimContext) -> list[_Point]:
    """Return both models' statistic with every valid judge that gave both a score."""
    [axis] = part.metric.axes
    found = []
    for analysis in grounds.valid(part.metric):
        panel = grounds.panels(analysis).get(axis)
        if panel is None or not set(part.pair) <= set(panel.known()):
            continue
        ours, theirs = (_of(part.metric, panel.by_seed[panel.row(name)]) for name in part.pair)
        difference = None
        if part.metric.kind not in _ENDS:
            draws = [_redrawn(panel, analysis.judge, m, part.metric, grounds) for m in part.pair]
            low, high = np.nanquantile(draws[0] - draws[1], [0.025, 0.975])
            difference = Estimate(
                value=ours - theirs,
                low=float(low),
                high=float(high),
                n=len(panel.prompt_ids),
                method="cluster bootstrap" if panel.clusters is not None else "bootstrap",
            )
        found.append(_Point(analysis.judge, (ours, theirs), difference))
    return found


def _of(metric: Metric, table: NDArray[np.float64]) -> float:
    return float(metric.of(table[~np.isnan(table)]))


def _redrawn(
    panel: ScoreMatrix, judge: str, model: str, metric: Metric, grounds: ClaimContext
) -> NDArray[np.float64]:
    """Return a model's statistic over clusters of prompts drawn again, the same for every model.

    NaN where a draw holds no prompt that the model has a score for.
    """
    key = (judge, panel.axis.name, model, metric.kind)
    if key not in grounds.redrawn:
        table = panel.by_seed[panel.row(model)]
        rng = np.random.default_rng(0)
        order = np.argsort(panel.cluster_of, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(panel.cluster_of))[:-1])
        alone = panel.clusters is None
        found = np.full(_DRAWS, np.nan)
        for draw in range(_DRAWS):
            drawn = rng.integers(0, len(members), size=len(members))
            columns = drawn if alone else np.concatenate([members[at] for at in drawn])
            part = table[:, columns]
            if not np.isnan(part).all():
                found[draw] = _of(metric, part)
        grounds.redrawn[key] = found
    return grounds.redrawn[key]


def other_way(part: PairPart, grounds: ClaimContext) -> bool:
    """Whether, with every valid judge, the sample itself is the other way round."""
    if is_point(part.metric):
        gaps = [point.values[0] - point.values[1] for point in _points(part, grounds)]
    else:
        gaps = [seen.pair.difference.value for seen in grounds.evidence(part)]
    return bool(gaps) and max(gaps) < 0.0


def judge_bounds(claim: Claim, grounds: ClaimContext) -> list[Verdict]:
    """Return a verdict for every figure that a claim with bounds is about."""
    found: list[Verdict] = []
    known = claimable(grounds.axes)
    for metric in (known[name] for name in claim.metric):
        if metric.kind == JUDGE_ACCURACY.kind:
            [axis] = metric.axes
            measured = [
                (quality.judge, accuracy)
                for quality in grounds.findings.qualities
                if not quality.is_baseline and (accuracy := quality.accuracy(axis))
            ]
            if not measured:
                why = f"no judge's accuracy on {axis_named(axis).prompts} prompts was measured"
                found.append(Verdict(claim=metric.title, verdict="unmeasurable", evidence=why))
            found += [
                _within_bounds(f"{one[0]}: {metric.title}", [one], claim, metric)
                for one in measured
            ]
            continue
        for model in claim.models or [item.model for item in grounds.findings.first.models]:
            words = f"{metric.title} of {model}"
            estimates = [
                (a.judge, estimate)
                for a in grounds.valid(metric)
                if (estimate := _figure(metric, model, a, grounds))
            ]
            below = grounds.below_floor(words, metric)
            found.append(below or _within_bounds(words, estimates, claim, metric))
    return found


def _within_bounds(
    words: str, found: list[tuple[str, Estimate]], claim: Claim, metric: Metric
) -> Verdict:
    """Return the verdict on one figure by every judge; judges that disagree support nothing."""
    if not found:
        return Verdict(claim=words, verdict="unmeasurable", evidence=f"{words} was not measured")
    rulings = [rule_bound(estimate, claim.at_least, claim.at_most) for _, estimate in found]
    names = {ruling.verdict for ruling in rulings}
    disagreement = "underpowered" if names <= {"supported", "underpowered"} else "not supported"
    said = [f"{words} {estimate_in_words(found[0][1], metric)}"]
    said += [f"with {judge}: {estimate_in_words(e, metric)}" for judge, e in found[1:]]
    return Verdict(
        claim=words,
        verdict=names.pop() if len(names) == 1 else disagreement,
        evidence="; ".join(said),
        n_needed=max((r.n_needed for r in rulings if r.n_needed), default=None),
    )


def _figure(
    metric: Metric, model: str, analysis: Analysis, grounds: ClaimContext
) -> Estimate | None:
    """Return a model's figure with its interval; ends of a sample are their own interval."""
    if not is_point(metric):
        figures = {item.model: item.estimates for item in analysis.models}
        return figures.get(model, {}).get(metric.name)
    [axis] = metric.axes
    panel = grounds.panels(analysis).get(axis)
    if panel is None or model not in panel.known():
        return None
    table = panel.by_seed[panel.row(model)]
    value = low = high = _of(metric, table)
    if metric.kind not in _ENDS:
        drawn = _redrawn(panel, analysis.judge, model, metric, grounds)
        low, high = (float(end) for end in np.nanquantile(drawn, [0.025, 0.975]))
    n = int((~np.isnan(table)).any(axis=0).sum())
    return Estimate(value=value, low=low, high=high, n=n, method="bootstrap")
