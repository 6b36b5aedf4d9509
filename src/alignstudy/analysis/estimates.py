"""The metrics of each model, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.resampling import Part, Resampler
from alignstudy.analysis.hygiene import hygiene, word_budget
from alignstudy.analysis.model_figures import Hygiene, Improvement, ModelFigures
from alignstudy.analysis.score_matrix import ScoreMatrix, rating
from alignstudy.metrics.figures import combined, rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.stats.intervals import mover_mean, wilson
from alignstudy.stats.resampling.bca import NO_SPREAD, mean_estimates
from alignstudy.stats.resampling.bootstrap import percentile_estimate
from alignstudy.stats.seed_tables import complete
from alignstudy.stats.seeds import TRAINED_ONCE, mean_spread, rate_estimate


@dataclass(frozen=True)
class MetricEstimates:
    """All models' values of one metric, and the resamples behind them.

    Attributes:
        estimates: By model, of those that have one.
        draws: Resampled values, shape (draws, models).
        is_complete: Whether all of these models have scores for the same prompts.
    """

    metric: Metric
    estimates: dict[str, Estimate]
    draws: NDArray[np.float64]
    is_complete: bool


def metric_estimates(
    panels: Mapping[str, ScoreMatrix], axes: Sequence[Axis], resampler: Resampler
) -> list[MetricEstimates]:
    """Return rates, their mean and mean scores over the prompts for which a model has a score.

    Args:
        panels: The scores of all models; an axis on which no model has any is left out.
        axes: Those of the study: CAS rests on all of them.
        resampler: Draws prompts and seeds.
    """
    scored = [panel for panel in panels.values() if panel.known()]
    parts = []
    for panel in scored:
        rows = panel.rows(panel.known())
        stack = [panel.by_seed[rows]]
        if panel.passed_by_seed is not None:
            stack.append(100.0 * panel.passed_by_seed[rows])
        parts.append(Part(np.concatenate(stack), panel.clusters))
    rates, scores = [], []
    for panel, means in zip(scored, resampler.means(parts) if parts else [], strict=True):
        models = panel.known()
        table, score = panel.scores[panel.rows(models)], score_of(panel.axis)
        there = ~np.isnan(table)
        is_complete = bool((there == there[0]).all())
        drawn, drawn_rates = means[:, : len(models)], means[:, len(models) :]
        values = [score.of(row[~np.isnan(row)]) for row in table]
        if panel.several_seeds:
            estimates = [
                _mean_over_seeds([panel], [panel.by_seed[row]], value, int(known.sum()))
                for row, value, known in zip(panel.rows(models), values, there, strict=True)
            ]
        else:
            draws, clusters = resampler.draws, panel.clusters
            estimates = mean_estimates(table, draws=draws, rng=resampler.rng, clusters=clusters)
        found = {
            model: replace(estimate, value=value)
            for model, estimate, value in zip(models, estimates, values, strict=True)
        }
        scores.append(MetricEstimates(score, found, drawn, is_complete))
        if panel.passed is not None:
            rate = rate_of(panel.axis)
            found = {
                model: _rate(rate, panel, model, column)
                for model, column in zip(models, drawn_rates.T, strict=True)
            }
            rates.append(MetricEstimates(rate, found, drawn_rates, is_complete))
    whole = [_mean_of_rates(combined(axes), rates, scored)] if len(rates) == len(axes) > 1 else []
    return [*rates, *whole, *scores]


def _mean_over_seeds(
    panels: Sequence[ScoreMatrix],
    tables: Sequence[NDArray[np.float64]],
    value: float,
    n: int,
    *,
    rate: bool = False,
) -> Estimate:
    """Return a model's mean with its interval over prompts, and training seeds if there are any.

    Args:
        panels: One an axis.
        tables: The model's values on each, shape (seeds, prompts): means over its samples; of
            rates, shares that pass.
        value: The mean, in percent for rates.
        n: Prompts that it rests on.
        rate: Whether it is of rates.
    """
    sides = [side for [side] in complete([[t] for t in tables], [p.cluster_of for p in panels])]
    if not all(side.size for side in sides):
        return Estimate(value=value, low=value, high=value, n=n, method=NO_SPREAD)
    if rate and len(sides) == 1:
        found = replace(rate_estimate(sides[0], n), value=value)
    else:
        spread = mean_spread(sides, rate=rate).in_unit(100.0 if rate else 1.0)
        found = spread.estimate(value, n, most=100.0 if rate else math.inf)
    if not any(panel.several_seeds for panel in panels):
        found = replace(found, method=TRAINED_ONCE[found.method])
    if found.low == found.high:
        return replace(found, method=NO_SPREAD)
    return replace(found, low=max(0.0, found.low)) if rate else found


def _rate(rate: Metric, panel: ScoreMatrix, model: str, means: NDArray[np.float64]) -> Estimate:
    """Return a rate with Wilson's interval, of shares where there are any; else resampled."""
    assert panel.passed is not None
    assert panel.passed_by_seed is not None
    row = panel.row(model)
    passed = panel.passed[row]
    known = ~np.isnan(passed)
    n, value = int(known.sum()), rate.of(passed[known])
    if panel.has_shares:
        return _mean_over_seeds([panel], [panel.passed_by_seed[row]], value, n, rate=True)
    if panel.clusters is None:
        return wilson(round(value * n / 100.0), n)
    if value in (0.0, 100.0):
        clusters = len(np.unique(panel.cluster_of[known]))
        bounds = wilson(round(value * clusters / 100.0), clusters)
        return replace(bounds, n=n, method="wilson over clusters")
    return percentile_estimate(value, means, n=n, method="cluster bootstrap")


def model_figures(
    names: Sequence[str],
    rows: Sequence[ScoredResponse],
    merits: Sequence[MetricEstimates],
    *,
    axes: Sequence[Axis],
    judge: str,
) -> tuple[ModelFigures, ...]:
    """Return the figures of every model; what its responses don't determine is left out.

    Args:
        names: Of the models.
        rows: Their responses, too long prompts left out.
        merits: Their values, by metric.
        axes: Those of the study.
        judge: Whose scores.
    """
    by_model: dict[str, list[ScoredResponse]] = {name: [] for name in names}
    for row in rows:
        by_model[row.model].append(row)
    form: dict[str, dict[str, Hygiene]] = {name: {} for name in names}
    for axis in axes:
        parts = {name: [row for row in by_model[name] if row.axis == axis.name] for name in names}
        # Models' variety is compared at the words that all of them have.
        budget = word_budget(parts)
        for name, part in parts.items():
            if part:
                form[name][axis.name] = hygiene(part, budget=budget)
    return tuple(
        ModelFigures(
            model=name,
            num_seeds=len({row.seed for row in own}),
            num_samples=len({row.sample for row in own}) or 1,
            estimates={
                part.metric.name: part.estimates[name] for part in merits if name in part.estimates
            },
            hygiene=form[name],
            missing_scores=sum(rating(row, judge) is None for row in own),
        )
        for name, own in by_model.items()
    )


def _mean_of_rates(
    whole: Metric, parts: Sequence[MetricEstimates], panels: Sequence[ScoreMatrix]
) -> MetricEstimates:
    """Return CAS; one seed's interval resamples prompts within each prompt set if that can tell."""
    found, columns = {}, []
    for model in parts[0].estimates:
        if not all(model in part.estimates for part in parts):
            continue
        rates = [part.estimates[model] for part in parts]
        value = whole.of([rate.value for rate in rates])
        draws = [part.draws[:, list(part.estimates).index(model)] for part in parts]
        columns.append(np.asarray(sum(draws) / len(draws)))
        n = sum(rate.n for rate in rates)
        if any(panel.has_shares for panel in panels):
            passed = [(panel.passed_by_seed, panel.row(model)) for panel in panels]
            tables = [table[row] for table, row in passed if table is not None]
            found[model] = _mean_over_seeds(panels, tables, value, n, rate=True)
            continue
        if {0.0, 100.0} & {rate.value for rate in rates}:
            # All resamples would be alike: an interval of no width.
            found[model] = replace(mover_mean(rates), value=value)
            continue
        found[model] = percentile_estimate(value, columns[-1], n=n, method="stratified bootstrap")
    draws_of_all = np.stack(columns, axis=1) if columns else np.empty((0, 0))
    is_complete = all(part.is_complete and [*part.estimates] == [*found] for part in parts)
    return MetricEstimates(whole, found, draws_of_all, is_complete)


def improvements(
    models: Sequence[ModelFigures], rates: Sequence[Metric], base: str | None
) -> tuple[Improvement, ...]:
    """Return every model's gain over the base in each rate.

    Source: Table 2 of arXiv:2509.09055; a gain relative to a rate hides how few responses it
    takes, so percentage points stand beside it.
    """
    reference = next((figures for figures in models if figures.model == base), None)
    if reference is None:
        return ()
    found = []
    for figures in models:
        for rate in rates:
            ours, theirs = (one.estimates.get(rate.name) for one in (figures, reference))
            if figures is not reference and ours is not None and theirs is not None:
                points = ours.value - theirs.value
                found.append(
                    Improvement(
                        model=figures.model,
                        metric=rate.name,
                        base=theirs.value,
                        value=ours.value,
                        points=points,
                        relative_percent=100.0 * points / theirs.value if theirs.value else None,
                    )
                )
    return tuple(found)


def best_shares(merits: Sequence[MetricEstimates]) -> dict[str, dict[str, float]]:
    """Return, by metric and model, the share of resamples in which it is highest, in percent.

    A shared first place is divided equally. A metric for which models have scores on different
    prompts is left out: its resamples are not of the same draws.
    """
    found = {}
    for part in merits:
        if part.is_complete and len(part.estimates) > 1:
            first = part.draws >= part.draws.max(axis=1, keepdims=True) - 1e-9
            shares = 100.0 * (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
            found[part.metric.name] = dict(zip(part.estimates, shares.tolist(), strict=True))
    return found
