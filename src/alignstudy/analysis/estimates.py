"""The metrics of each model, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.comparisons.resampling import Part, Resampler
from alignstudy.analysis.hygiene import hygiene
from alignstudy.analysis.results import Improvement, ModelFigures
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

    def rate_draws(self, model: str) -> NDArray[np.float64] | None:
        """Return a model's resampled rates; None without any."""
        if self.rate_means is None or model not in self.models:
            return None
        return np.asarray(self.rate_means[:, self.models.index(model)])


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
        rows = [panel.row(model) for model in panel.known()]
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
    models = tuple(panel.known())
    rows = [panel.row(model) for model in models]
    there = ~np.isnan(panel.scores[rows])
    score_means, rate_means = means[:, : len(models)], means[:, len(models) :]
    scores = _scores(panel, rows, there, score_means, resampler)
    rates = {}
    if panel.passed is not None:
        for index, (model, row) in enumerate(zip(models, rows, strict=True)):
            passed = panel.passed[row]
            rates[model] = _rate(rate_of(panel.axis), panel, passed, rate_means[:, index])
    return AxisEstimates(
        models=models,
        complete=bool((there == there[0]).all()),
        scores=dict(zip(models, scores, strict=True)),
        rates=rates,
        score_means=score_means,
        rate_means=rate_means if rates else None,
    )


def _scores(
    panel: ScoreMatrix,
    rows: Sequence[int],
    there: NDArray[np.bool_],
    means: NDArray[np.float64],
    resampler: Resampler,
) -> list[Estimate]:
    """Return mean scores: BCa intervals for one seed, resampled seeds and prompts for several."""
    score = score_of(panel.axis)
    values = [score.of(panel.scores[row, known]) for row, known in zip(rows, there, strict=True)]
    if panel.several_seeds:
        sizes = there.sum(axis=1).tolist()
        return [
            percentile_estimate(value, means[:, index], n=n, method=HIERARCHICAL)
            for index, (value, n) in enumerate(zip(values, sizes, strict=True))
        ]
    found = bca_means(
        panel.scores[rows], draws=resampler.draws, rng=resampler.rng, clusters=panel.clusters
    )
    return [replace(one, value=value) for one, value in zip(found, values, strict=True)]


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
    model: str,
    rows: Sequence[ScoredResponse],
    merits: Mapping[str, AxisEstimates],
    *,
    axes: Sequence[Axis],
    judge: str,
    budgets: Mapping[str, int | None],
) -> ModelFigures:
    """Return the figures of one model; what its responses don't determine is left out.

    Args:
        model: Its name.
        rows: Its responses, too long prompts left out.
        merits: Figures by prompt set.
        axes: Those of the study.
        judge: Whose scores.
        budgets: Words at which models' variety is compared, by prompt set.
    """
    parts = [(axis, merits.get(axis.name, AxisEstimates())) for axis in axes]
    rates = {rate_of(axis).name: part.rates.get(model) for axis, part in parts}
    whole = combined(axes)
    if len(axes) > 1:
        rates[whole.name] = _mean_of_rates(whole, model, [part for _, part in parts])
    scores = {score_of(axis).name: part.scores.get(model) for axis, part in parts}
    return ModelFigures(
        model=model,
        num_seeds=len({row.seed for row in rows}),
        estimates={name: found for name, found in (rates | scores).items() if found is not None},
        hygiene={
            axis.name: hygiene(found, budget=budgets.get(axis.name))
            for axis in axes
            if (found := [row for row in rows if row.axis == axis.name])
        },
        missing_scores=sum(rating(row, judge) is None for row in rows),
    )


def _mean_of_rates(whole: Metric, model: str, parts: Sequence[AxisEstimates]) -> Estimate | None:
    """Return CAS; its interval resamples prompts within each prompt set where that can tell."""
    draws = [found for part in parts if (found := part.rate_draws(model)) is not None]
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
                found.append(_improvement(figures.model, rate.name, theirs.value, ours.value))
    return tuple(found)


def _improvement(model: str, metric: str, base: float, value: float) -> Improvement:
    return Improvement(
        model=model,
        metric=metric,
        base=base,
        value=value,
        points=value - base,
        relative_percent=100.0 * (value - base) / base if base else None,
    )
