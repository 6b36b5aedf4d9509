"""What is tested of one model's figures: bounds, and medians, spreads and ends of scores."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.claims.claims import JUDGE_ACCURACY, Claim, is_point
from alignstudy.analysis.claims.grounds import DRAWS, ClaimContext, PairPart
from alignstudy.analysis.claims.rule import Evidence
from alignstudy.analysis.results import Analysis
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.rates import HIGHEST, LOWEST
from alignstudy.records import Estimate
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.seed_tables import complete
from alignstudy.stats.seeds import mean_spread
from alignstudy.stats.spread import SeedPart, Spread

_ENDS = {LOWEST.kind, HIGHEST.kind}
"""The ends of a sample: another sample has others, so that nothing is inferred from them."""


def is_end(metric: Metric) -> bool:
    """Whether a figure is an end of a sample, which has no interval."""
    return metric.kind in _ENDS


def point_evidence(part: PairPart, grounds: ClaimContext) -> list[tuple[Evidence, float, float]]:
    """Return what each valid judge says of a statistic of two models, and the statistic of each."""
    [axis] = part.metric.axes
    found = []
    for analysis in grounds.valid(part.metric):
        panel = grounds.panels(analysis).get(axis)
        if panel is None or not set(part.pair) <= set(panel.known()):
            continue
        ours, theirs = (_Statistic(part.metric, name, analysis, grounds) for name in part.pair)
        spread, draws = None, None
        if not is_end(part.metric):
            draws = ours.draws() - theirs.draws()
            spread = _spread(ours.value - theirs.value, draws, [ours, theirs])
        n = len(panel.prompt_ids)
        gap = _estimate(ours.value - theirs.value, draws, spread, n)
        evidence = _beyond(analysis.judge, gap, spread, at_least=part.claim.margin, at_most=None)
        # More than the margin, not at least it.
        holds = gap.value > part.claim.margin
        found.append((replace(evidence, holds=holds), ours.value, theirs.value))
    return found


def bound_evidence(
    metric: Metric, model: str, claim: Claim, grounds: ClaimContext
) -> list[Evidence]:
    """Return what each valid judge says of one model's figure and the claim's bounds."""
    found = []
    for analysis in grounds.valid(metric):
        if is_point(metric):
            panel = grounds.panels(analysis).get(metric.axes[0])
            if panel is None or model not in panel.known():
                continue
            of = _Statistic(metric, model, analysis, grounds)
            draws = None if is_end(metric) else of.draws()
            spread = None if draws is None else _spread(of.value, draws, [of])
            n = int((~np.isnan(of.table)).any(axis=(0, 1)).sum())
            estimate = _estimate(of.value, draws, spread, n)
        else:
            figures = {item.model: item.estimates for item in analysis.models}
            known = figures.get(model, {}).get(metric.name)
            if known is None:
                continue
            estimate, spread = known, _figure_spread(metric, model, analysis, grounds)
        found.append(_bounded(analysis.judge, estimate, spread, claim, metric))
    return found


def accuracy_evidence(metric: Metric, claim: Claim, grounds: ClaimContext) -> list[Evidence]:
    """Return what is known of each judge's accuracy and the claim's bounds; baselines left out."""
    found = []
    for quality in grounds.findings.qualities:
        accuracy = quality.accuracy(metric.axes[0])
        if accuracy is not None and not quality.is_baseline:
            share = accuracy.value / 100.0
            variance = 1e4 * share * (1.0 - share) / accuracy.n
            spread = Spread(
                value=accuracy.value,
                prompts=variance,
                df_prompts=max(1.0, accuracy.n - 1.0),
                seeds=0.0,
                df_seeds=1.0,
                units=accuracy.n,
            )
            found.append(_bounded(quality.judge, accuracy, spread, claim, metric))
    return found


def _bounded(
    judge: str, estimate: Estimate, spread: Spread | None, claim: Claim, metric: Metric
) -> Evidence:
    """Test that a figure lies within bounds; a rate of models trained once by its score test."""
    found = _beyond(judge, estimate, spread, at_least=claim.at_least, at_most=claim.at_most)
    simple = estimate.method == "wilson" or metric.kind == JUDGE_ACCURACY.kind
    if not metric.is_rate or spread is None or not simple:
        return found
    bounds = [bound for bound in (claim.at_least, claim.at_most) if bound is not None]
    # Near a bound a rate has the variance that the bound gives it.
    least = max(bound * (100.0 - bound) / estimate.n for bound in bounds)
    design = SpreadDesign(replace(spread, prompts=max(spread.prompts, least)))
    return replace(_scored(found, estimate, claim), design=design)


def _scored(found: Evidence, estimate: Estimate, claim: Claim) -> Evidence:
    """Put a rate's score test, whose interval is Wilson's, in the place of Student's t."""
    above = [] if claim.at_least is None else [_score_p(estimate, claim.at_least)]
    below = [] if claim.at_most is None else [1.0 - _score_p(estimate, claim.at_most)]
    return _with_p(found, [*above, *below])


def _score_p(estimate: Estimate, bound: float) -> float:
    """Test one-sided that a rate is at most a bound, percent.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953: the interval's inversion.
    """
    error = math.sqrt(bound * (100.0 - bound) / estimate.n)
    if error == 0.0:
        return 0.0 if estimate.value > bound else 1.0
    return NormalDist().cdf((bound - estimate.value) / error)


def _beyond(
    judge: str,
    estimate: Estimate,
    spread: Spread | None,
    *,
    at_least: float | None,
    at_most: float | None,
) -> Evidence:
    """Test that a value lies within bounds, by its spread."""
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    found = Evidence(
        judge=judge,
        estimate=estimate,
        holds=low <= estimate.value <= high,
        shows=low <= estimate.low and estimate.high <= high,
    )
    if spread is None:
        return found
    sides = [] if at_least is None else [spread.p_greater(at_least)]
    sides += [] if at_most is None else [1.0 - spread.p_greater(at_most)]
    return replace(_with_p(found, sides), design=SpreadDesign(spread))


def _with_p(found: Evidence, sides: list[float]) -> Evidence:
    """Fill in the p-values of one-sided tests of each bound, on a two-sided scale."""
    return replace(
        found,
        p_for=min(1.0, 2.0 * max(sides)),
        p_against=min(1.0, 2.0 * min(1.0 - p_value for p_value in sides)),
    )


class _Statistic:
    """A statistic of a model's scores on one axis.

    Attributes:
        table: Scores of all responses, shape (seeds, samples, prompts); NaN where there is none.
        value: Over all of them.
        by_seed: Over each seed's.
    """

    def __init__(
        self, metric: Metric, model: str, analysis: Analysis, grounds: ClaimContext
    ) -> None:
        self.panel = grounds.panels(analysis)[metric.axes[0]]
        self.table = self.panel.by_sample[self.panel.row(model)]
        self.value = _of(metric, self.table)
        rows = [row for row in self.table if not np.isnan(row).all()]
        self.by_seed = [_of(metric, row) for row in rows]
        self._metric, self._cache = metric, grounds.redrawn
        self._key = (analysis.judge, self.panel.axis.name, model, metric.kind)

    def draws(self) -> NDArray[np.float64]:
        """Return it over clusters of prompts drawn again, the same for every model.

        NaN where a draw holds no prompt that the model has a score for.
        """
        if self._key not in self._cache:
            rng = np.random.default_rng(0)
            order = np.argsort(self.panel.cluster_of, kind="stable")
            members = np.split(order, np.cumsum(np.bincount(self.panel.cluster_of))[:-1])
            alone = self.panel.clusters is None
            found = np.full(DRAWS, np.nan)
            for draw in range(DRAWS):
                drawn = rng.integers(0, len(members), size=len(members))
                columns = drawn if alone else np.concatenate([members[at] for at in drawn])
                part = self.table[..., columns]
                if not np.isnan(part).all():
                    found[draw] = _of(self._metric, part)
            self._cache[self._key] = found
        return self._cache[self._key]


def _of(metric: Metric, table: NDArray[np.float64]) -> float:
    return float(metric.of(table[~np.isnan(table)]))


def _spread(
    value: float, draws: NDArray[np.float64], statistics: list[_Statistic]
) -> Spread | None:
    """Return a statistic's spread: over prompts drawn again, and over training seeds.

    None where nothing varies.
    """
    trainings = tuple(
        SeedPart(
            seen=float(np.var(of.by_seed, ddof=1)) / len(of.by_seed),
            noise=0.0,
            df=len(of.by_seed) - 1.0,
        )
        for of in statistics
        if len(of.by_seed) > 1
    )
    prompts, seeds = float(np.nanvar(draws)), sum(part.seen for part in trainings)
    if prompts + seeds == 0.0:
        return None
    units = statistics[0].panel.num_clusters
    return Spread(
        value=value,
        prompts=prompts,
        df_prompts=max(1.0, units - 1.0),
        seeds=seeds,
        df_seeds=min((part.df for part in trainings), default=1.0),
        trainings=trainings,
        units=units,
    )


def _estimate(
    value: float, draws: NDArray[np.float64] | None, spread: Spread | None, n: int
) -> Estimate:
    """Return a statistic's interval: from draws; over several seeds from its spread; or none."""
    if spread is not None and spread.trainings:
        return spread.estimate(value, n)
    low = high = value
    if draws is not None:
        low, high = (float(end) for end in np.nanquantile(draws, [0.025, 0.975]))
    return Estimate(value=value, low=low, high=high, n=n, method="bootstrap")


def _figure_spread(
    metric: Metric, model: str, analysis: Analysis, grounds: ClaimContext
) -> Spread | None:
    """Return the spread of a rate, of their mean, or of a mean score; None where it has none."""
    panels = [grounds.panels(analysis)[axis] for axis in metric.axes]
    tables = [
        panel.passed_by_seed[panel.row(model)]
        if metric.is_rate and panel.passed_by_seed is not None
        else panel.by_seed[panel.row(model)]
        for panel in panels
    ]
    sides = [side for [side] in complete([[t] for t in tables], [p.cluster_of for p in panels])]
    if not all(side.size for side in sides):
        return None
    spread = mean_spread(sides, rate=metric.is_rate)
    if metric.is_rate and spread.is_nominal(*(float(side.mean()) for side in sides)):
        return None
    spread = spread.in_unit(100.0 if metric.is_rate else 1.0)
    return spread if spread.half_width() > 0.0 else None
