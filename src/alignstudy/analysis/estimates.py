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
from alignstudy.metrics.cas import cas
from alignstudy.metrics.mean_score import mean_score
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.stats.intervals import mean_of_two, wilson
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
    panels: Mapping[Axis, ScoreMatrix], resampler: Resampler
) -> dict[Axis, AxisEstimates]:
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
        for index, model in enumerate(models):
            rates[model] = _rate(panel, model, panel.passed, rate_means[:, index])
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
    if not panel.several_seeds:
        return bca_means(
            panel.scores[rows],
            draws=resampler.draws,
            rng=resampler.rng,
            clusters=panel.clusters,
        )
    return [
        percentile_estimate(
            mean_score(panel.scores[row, known]),
            means[:, index],
            n=int(known.sum()),
            method=HIERARCHICAL,
        )
        for index, (row, known) in enumerate(zip(rows, there, strict=True))
    ]


def _rate(
    panel: ScoreMatrix,
    model: str,
    passed: NDArray[np.float64],
    means: NDArray[np.float64],
) -> Estimate:
    """Return a rate: Wilson's interval on independent prompts of one seed, resampled ones else."""
    row = panel.row(model)
    known = ~np.isnan(panel.scores[row])
    n, value = int(known.sum()), float(100.0 * passed[row, known].mean())
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
    merits: Mapping[Axis, AxisEstimates],
    *,
    judge: str,
    budgets: Mapping[Axis, int | None],
) -> ModelFigures:
    """Return the figures of one model; None for what its responses don't determine.

    Args:
        model: Its name.
        rows: Its responses, too long prompts left out.
        merits: Figures by prompt set.
        judge: Whose scores.
        budgets: Words at which models' variety is compared, by prompt set.
    """
    harmless, helpful = (merits.get(axis, AxisEstimates()) for axis in Axis)
    return ModelFigures(
        model=model,
        num_seeds=len({row.seed for row in rows}),
        hmr=harmless.rates.get(model),
        hpr=helpful.rates.get(model),
        cas=_cas(model, harmless, helpful),
        score_harmless=harmless.scores.get(model),
        score_helpful=helpful.scores.get(model),
        hygiene={
            axis: hygiene(found, budget=budgets.get(axis)) for axis, found in by_axis(rows).items()
        },
        missing_scores=sum(rating(row, judge) is None for row in rows),
    )


def _cas(model: str, harmless: AxisEstimates, helpful: AxisEstimates) -> Estimate | None:
    """Return CAS; its interval resamples prompts within each prompt set where that can tell."""
    draws = (harmless.rate_draws(model), helpful.rate_draws(model))
    if draws[0] is None or draws[1] is None:
        return None
    rates = (harmless.rates[model], helpful.rates[model])
    one_seed = all(rate.method != HIERARCHICAL for rate in rates)
    if one_seed and {0.0, 100.0} & {rate.value for rate in rates}:
        return mean_of_two(*rates)  # all resamples would be alike: an interval of no width
    return percentile_estimate(
        cas(rates[0].value, rates[1].value),
        (draws[0] + draws[1]) / 2.0,
        n=rates[0].n + rates[1].n,
        method="stratified bootstrap" if one_seed else HIERARCHICAL,
    )


def by_axis(rows: Sequence[ScoredResponse]) -> dict[Axis, list[ScoredResponse]]:
    """Return the rows of each prompt set that has any."""
    found = {axis: [row for row in rows if row.axis is axis] for axis in Axis}
    return {axis: kept for axis, kept in found.items() if kept}


def improvements(models: Sequence[ModelFigures], base: str | None) -> tuple[Improvement, ...]:
    """Return every model's gain over the base in each rate.

    Source: Table 2 of arXiv:2509.09055; a gain relative to a rate hides how few responses it
    takes, so percentage points stand beside it.
    """
    reference = next((figures for figures in models if figures.model == base), None)
    if reference is None:
        return ()
    found = []
    for figures in models:
        for metric in ("hmr", "hpr", "cas"):
            ours, theirs = getattr(figures, metric), getattr(reference, metric)
            if figures is not reference and ours is not None and theirs is not None:
                found.append(_improvement(figures.model, metric, theirs.value, ours.value))
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
