"""Verdicts on what describes a sample: medians, spreads and ends of scores, and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.claims.claims import JUDGE_ACCURACY, Claim, Verdict, claimable, is_point
from alignstudy.analysis.claims.grounds import DRAWS, ClaimContext
from alignstudy.analysis.claims.pairs import PairPart, unmeasured
from alignstudy.analysis.claims.rule import Ruling, rule_bound
from alignstudy.analysis.claims.words import (
    estimate_in_words,
    value_in_words,
)
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.formatting import interval, number
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.rates import HIGHEST, LOWEST
from alignstudy.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DRAWS = DRAWS // 2

_ENDS = {LOWEST.kind, HIGHEST.kind}
"""The ends of a sample: they have no interval."""


@dataclass(frozen=True)
class _Point:
    """A statistic of one model's scores, or of two models' with their difference."""

    values: tuple[float, ...]
    difference: Estimate | None


def judge_point_pair(part: PairPart, grounds: ClaimContext) -> Verdict:
    """Return the verdict on which of two models has the higher median, spread or end of scores.

    False in the sample of every valid judge: contradicted. True, and the interval of the difference
    (prompts drawn again) lies beyond the margin: supported; the ends of a sample have no interval
    and are taken as they are.
    """
    below = unmeasured(part.words, part.metric, grounds)
    if below is not None:
        return below
    seen = [
        (a.judge, point) for a in grounds.valid(part.metric) if (point := _seen(part, a, grounds))
    ]
    if not seen:
        why = f"{part.metric.title} of {part.pair[0]} and {part.pair[1]} was not measured"
        return Verdict(claim=part.words, verdict="unmeasurable", evidence=why)
    told = [_pair_words(part, judge if at else "", point) for at, (judge, point) in enumerate(seen)]
    return Verdict(
        claim=part.words,
        verdict=_ruled(part, [point for _, point in seen]),
        evidence="; ".join(told),
    )


def _ruled(part: PairPart, points: list[_Point]) -> str:
    holds = [point.values[0] > point.values[1] + part.margin for point in points]
    if not any(holds):
        return "contradicted"
    shown = all(point.difference is None or point.difference.low > part.margin for point in points)
    return "supported" if all(holds) and (part.in_sample or shown) else "not supported"


def _seen(part: PairPart, analysis: Analysis, grounds: ClaimContext) -> _Point | None:
    """Return both models' statistic with one judge's scores; None where one has no score."""
    [axis] = part.metric.axes
    panel = grounds.panels(analysis).get(axis)
    if panel is None or not set(part.pair) <= set(panel.known()):
        return None
    tables = [panel.by_seed[panel.row(model)] for model in part.pair]
    values = [_of(part.metric, table) for table in tables]
    if part.metric.kind in _ENDS:
        return _Point(tuple(values), None)
    ours, theirs = (
        _redrawn(panel, analysis.judge, model, part.metric, grounds) for model in part.pair
    )
    low, high = np.nanquantile(ours - theirs, [0.025, 0.975])
    difference = Estimate(
        value=values[0] - values[1],
        low=float(low),
        high=float(high),
        n=len(panel.prompt_ids),
        method="cluster bootstrap" if panel.clusters is not None else "bootstrap",
    )
    return _Point(tuple(values), difference)


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


def _pair_words(part: PairPart, judge: str, point: _Point) -> str:
    name = f"with {judge}: " if judge else f"{part.metric.title} "
    ours, theirs = (value_in_words(value, part.metric) for value in point.values)
    told = f"{name}{part.pair[0]} {ours}, {part.pair[1]} {theirs}"
    if point.difference is None:
        return told
    gap = number(point.difference.value, 2, signed=True)
    return f"{told}: {gap} {interval(point.difference, 2)}"


def other_way(part: PairPart, grounds: ClaimContext) -> bool:
    """Tell whether, with every valid judge, the sample itself is the other way round."""
    points = [_seen(part, analysis, grounds) for analysis in grounds.valid(part.metric)]
    known = [point for point in points if point is not None]
    return bool(known) and all(point.values[0] < point.values[1] for point in known)


def judge_bounds(claim: Claim, grounds: ClaimContext) -> list[Verdict]:
    """Return a verdict for every figure that a claim with bounds is about."""
    found = []
    known = claimable(grounds.axes)
    for metric in (known[name] for name in claim.metric):
        if metric.kind == JUDGE_ACCURACY.kind:
            found += _judge_accuracies(claim, metric, grounds)
            continue
        for model in claim.models or [item.model for item in grounds.findings.first.models]:
            found.append(_bounded(claim, metric, model, grounds))
    return found


def _judge_accuracies(claim: Claim, metric: Metric, grounds: ClaimContext) -> list[Verdict]:
    [axis] = metric.axes
    found = []
    for quality in grounds.findings.qualities:
        if quality.is_baseline:
            continue
        accuracy = quality.accuracy(axis)
        if accuracy is not None:
            words = f"{quality.judge}: {metric.title}"
            ruling = rule_bound(accuracy, claim.at_least, claim.at_most)
            found.append(_of_estimate(words, metric, accuracy, ruling))
    if not found:
        why = f"no judge's accuracy on {axis_named(axis).prompts} prompts was measured"
        found.append(Verdict(claim=metric.title, verdict="unmeasurable", evidence=why))
    return found


def _of_estimate(words: str, metric: Metric, estimate: Estimate, ruling: Ruling) -> Verdict:
    return Verdict(
        claim=words,
        verdict=ruling.verdict,
        evidence=f"{words} {estimate_in_words(estimate, metric)}",
        n_needed=ruling.n_needed,
    )


def _bounded(claim: Claim, metric: Metric, model: str, grounds: ClaimContext) -> Verdict:
    """Return the verdict on one model's figure."""
    words = f"{metric.title} of {model}"
    below = unmeasured(words, metric, grounds)
    if below is not None:
        return below
    found = [
        (a, estimate)
        for a in grounds.valid(metric)
        if (estimate := _figure(metric, model, a, grounds))
    ]
    if not found:
        return Verdict(claim=words, verdict="unmeasurable", evidence=f"{words} was not measured")
    rulings = [rule_bound(estimate, claim.at_least, claim.at_most) for _, estimate in found]
    told = [f"{words} {estimate_in_words(found[0][1], metric)}"]
    told += [f"with {a.judge}: {estimate_in_words(e, metric)}" for a, e in found[1:]]
    return Verdict(
        claim=words,
        verdict=_agreed([ruling.verdict for ruling in rulings]),
        evidence="; ".join(told),
        n_needed=max((r.n_needed for r in rulings if r.n_needed), default=None),
    )


def _agreed(found: list[str]) -> str:
    """Return the verdict that all judges give; judges that disagree support nothing."""
    if len(set(found)) == 1:
        return found[0]
    return "underpowered" if set(found) <= {"supported", "underpowered"} else "not supported"


def _figure(
    metric: Metric, model: str, analysis: Analysis, grounds: ClaimContext
) -> Estimate | None:
    """Return a model's figure with its interval; ends of a sample are their own interval."""
    if not is_point(metric):
        figures = next((item for item in analysis.models if item.model == model), None)
        return None if figures is None else figures.estimates.get(metric.name)
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
