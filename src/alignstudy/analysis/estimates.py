"""The metrics of each model, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.comparisons.resampling import Part, Resampler
from alignstudy.analysis.hygiene import hygiene, word_budget
from alignstudy.analysis.results import Hygiene, Improvement, ModelFigures
from alignstudy.analysis.score_matrix import ScoreMatrix, rating
from alignstudy.metrics.figures import combined, rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.stats.intervals import mover_mean, wilson
from alignstudy.stats.resampling.bca import bca_means
from alignstudy.stats.resampling.bootstrap import percentile_estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIERARCHICAL = "hierarchical bootstrap"


@dataclass(frozen=True, kw_only=True)
class AxisEstimates:
    """All models' figures on one prompt set, and the resamples behind them.

    Attributes:
        models: Those with any score.
        complete: Whether all of them have a score for the same prompts.
        scores: Model -> mean score.
        rates: Model -> rate in percent; empty without a threshold.
        score_means: Resampled mean scores, shape (draws, models).
        rate_means: Resampled rates in percent, the same prompts drawn; None without a threshold.
    """

    models: tuple[str, ...] = ()
    complete: bool = True
    scores: Mapping[str, Estimate] = field(default_factory=dict)
    rates: Mapping[str, Estimate] = field(default_factory=dict)
    score_means: NDArray[np.float64] | None = None
    rate_means: NDArray[np.float64] | None = None


def axis_estimates(
    panels: Mapping[str, ScoreMatrix], resampler: Resampler
) -> dict[str, AxisEstimates]:
    """Return mean score and rate of every model over the prompts for which it has a score.

    Args:
        panels: The scores of all models; an axis on which no model has any is left out.
        resampler: Draws prompts and seeds.
    """
    scored = {axis: panel for axis, panel in panels.items() if panel.known()}
    parts = []
    for panel in scored.values():
        rows = panel.rows(panel.known())
        stack = [panel.by_seed[rows]]
        if panel.passed_by_seed is not None:
            stack.append(100.0 * panel.passed_by_seed[rows])
        parts.append(Part(np.concatenate(stack), panel.clusters))
    means = resampler.means(parts) if parts else []
    return {
        axis: _merits(panel, drawn, resampler)
        for (axis, panel), drawn in zip(scored.items(), means, strict=True)
    }


def _merits(panel: ScoreMatrix, means: NDArray[np.float64], resampler: Resampler) -> AxisEstimates:
    """Return one axis' figures: mean scores with BCa intervals, of several seeds resampled ones."""
    models = tuple(panel.known())
    rows = panel.rows(models)
    there = ~np.isnan(panel.scores[rows])
    score_means, rate_means = means[:, : len(models)], means[:, len(models) :]
    score, rates = score_of(panel.axis), {}
    values = [score.of(panel.scores[row, known]) for row, known in zip(rows, there, strict=True)]
    if panel.several_seeds:
        scores = [
            percentile_estimate(value, drawn, n=int(known.sum()), method=HIERARCHICAL)
            for value, drawn, known in zip(values, score_means.T, there, strict=True)
        ]
    else:
        found = bca_means(
            panel.scores[rows], draws=resampler.draws, rng=resampler.rng, clusters=panel.clusters
        )
        scores = [replace(one, value=value) for one, value in zip(found, values, strict=True)]
    if panel.passed is not None:
        for model, row, drawn in zip(models, rows, rate_means.T, strict=True):
            rates[model] = _rate(rate_of(panel.axis), panel, panel.passed[row], drawn)
    return AxisEstimates(
        models=models,
        complete=bool((there == there[0]).all()),
        scores=dict(zip(models, scores, strict=True)),
        rates=rates,
        score_means=score_means,
        rate_means=rate_means if rates else None,
    )


def _rate(
    rate: Metric, panel: ScoreMatrix, passed: NDArray[np.float64], means: NDArray[np.float64]
) -> Estimate:
    """Return a rate: Wilson's interval on independent prompts of one seed, resampled ones else."""
    known = ~np.isnan(passed)
    n, value = int(known.sum()), rate.of(passed[known])
    if panel.several_seeds:
        return percentile_estimate(value, means, n=n, method=HIERARCHICAL)
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
    merits: Mapping[str, AxisEstimates],
    *,
    axes: Sequence[Axis],
    judge: str,
) -> tuple[ModelFigures, ...]:
    """Return the figures of every model; what its responses don't determine is left out.

    Args:
        names: Of the models.
        rows: Their responses, too long prompts left out.
        merits: Figures by prompt set.
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
            estimates=_estimates(name, merits, axes),
            hygiene=form[name],
            missing_scores=sum(rating(row, judge) is None for row in own),
        )
        for name, own in by_model.items()
    )


def _estimates(
    model: str, merits: Mapping[str, AxisEstimates], axes: Sequence[Axis]
) -> dict[str, Estimate]:
    """Return the figures that a model has: rates, their mean, mean scores."""
    parts = [(axis, merits.get(axis.name, AxisEstimates())) for axis in axes]
    found = {rate_of(axis).name: part.rates.get(model) for axis, part in parts}
    if len(axes) > 1:
        whole = combined(axes)
        found[whole.name] = _mean_of_rates(whole, model, [part for _, part in parts])
    found |= {score_of(axis).name: part.scores.get(model) for axis, part in parts}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _mean_of_rates(whole: Metric, model: str, parts: Sequence[AxisEstimates]) -> Estimate | None:
    """Return CAS; its interval resamples prompts within each prompt set where that can tell."""
    draws = [
        np.asarray(part.rate_means[:, part.models.index(model)])
        for part in parts
        if part.rate_means is not None and model in part.models
    ]
    if len(draws) < len(parts):
        return None
    rates = [part.rates[model] for part in parts]
    one_seed = all(rate.method != HIERARCHICAL for rate in rates)
    if one_seed and {0.0, 100.0} & {rate.value for rate in rates}:
        # All resamples would be alike: an interval of no width.
        return replace(mover_mean(rates), value=whole.of([rate.value for rate in rates]))
    return percentile_estimate(
        whole.of([rate.value for rate in rates]),
        np.asarray(sum(draws) / len(draws)),
        n=sum(rate.n for rate in rates),
        method="stratified bootstrap" if one_seed else HIERARCHICAL,
    )


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
