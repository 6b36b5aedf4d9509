"""The figures of merit of each model, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.metrics.cap import cap_share
from alignstudy.metrics.cas import cas
from alignstudy.metrics.empty import empty_share
from alignstudy.metrics.hmr import hmr
from alignstudy.metrics.hpr import hpr
from alignstudy.metrics.length import mean_words
from alignstudy.metrics.mean_score import mean_score
from alignstudy.metrics.repetition import repetition_share
from alignstudy.metrics.role_tags import role_tag_share
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.report.panels import Panel, rating
from alignstudy.report.results import Hygiene, Improvement, ModelFigures, Thresholds
from alignstudy.stats.bootstrap import bootstrap_means, percentile_estimate
from alignstudy.stats.intervals import mean_of_two, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATE = {Axis.HARMLESS: hmr, Axis.HELPFUL: hpr}


@dataclass(frozen=True, kw_only=True)
class _AxisMerits:
    """A model's figures on one prompt set, and the bootstrap replicates of its rate."""

    score: Estimate | None = None
    rate: Estimate | None = None
    rate_means: NDArray[np.float64] | None = None


_NOTHING = _AxisMerits()


def model_figures(
    model: str,
    rows: Sequence[ScoredResponse],
    panels: dict[Axis, Panel],
    thresholds: Thresholds,
    *,
    judge: str,
    draws: int,
    rng: np.random.Generator,
) -> ModelFigures:
    """Give the figures of one model; None for what its responses don't determine.

    Args:
        model: Its name.
        rows: Its responses, too long prompts left out.
        panels: The scores of all models.
        thresholds: What passes.
        judge: Whose scores.
        draws: Bootstrap resamples.
        rng: Source of the resamples.
    """
    num_seeds = len({row.seed for row in rows})
    found = {
        axis: _axis_merits(
            panel, model, thresholds, several_seeds=num_seeds > 1, draws=draws, rng=rng
        )
        for axis, panel in panels.items()
    }
    harmless, helpful = (found.get(axis, _NOTHING) for axis in Axis)
    return ModelFigures(
        model=model,
        num_seeds=num_seeds,
        hmr=harmless.rate,
        hpr=helpful.rate,
        cas=_cas(harmless, helpful),
        score_harmless=harmless.score,
        score_helpful=helpful.score,
        hygiene={axis: hygiene(found) for axis, found in _by_axis(rows).items()},
        missing_scores=sum(rating(row, judge) is None for row in rows),
    )


def _axis_merits(
    panel: Panel,
    model: str,
    thresholds: Thresholds,
    *,
    several_seeds: bool,
    draws: int,
    rng: np.random.Generator,
) -> _AxisMerits:
    """Give mean score and rate of a model over the prompts for which it has a score."""
    if model not in panel.models:
        return _NOTHING
    row = panel.row(model)
    known = ~np.isnan(panel.scores[row])
    scores, threshold = panel.scores[row, known], thresholds.of(panel.axis)
    if not scores.size:
        return _NOTHING
    passed = None if panel.passed is None else 100.0 * panel.passed[row, known]
    stack = np.stack([scores] if passed is None else [scores, passed])
    means = bootstrap_means(stack, draws=draws, rng=rng)
    score = percentile_estimate(mean_score(scores), means[:, 0], n=len(scores))
    if passed is None or threshold is None:
        return _AxisMerits(score=score)
    if several_seeds:
        rate = percentile_estimate(float(passed.mean()), means[:, 1], n=len(passed))
    else:
        percent = _RATE[panel.axis](scores, threshold, inclusive=thresholds.inclusive)
        rate = wilson(round(percent * len(scores) / 100.0), len(scores))
    return _AxisMerits(score=score, rate=rate, rate_means=means[:, 1])


def _cas(harmless: _AxisMerits, helpful: _AxisMerits) -> Estimate | None:
    """Give CAS; its interval resamples prompts within each prompt set where that can tell."""
    if (
        harmless.rate is None
        or helpful.rate is None
        or harmless.rate_means is None
        or helpful.rate_means is None
    ):
        return None
    rates = (harmless.rate, helpful.rate)
    if all(rate.method == "wilson" for rate in rates) and {0.0, 100.0} & {r.value for r in rates}:
        return mean_of_two(*rates)  # all resamples would be alike: an interval of no width
    return percentile_estimate(
        cas(harmless.rate.value, helpful.rate.value),
        (harmless.rate_means + helpful.rate_means) / 2.0,
        n=harmless.rate.n + helpful.rate.n,
        method="stratified bootstrap",
    )


def _by_axis(rows: Sequence[ScoredResponse]) -> dict[Axis, list[ScoredResponse]]:
    found = {axis: [row for row in rows if row.axis is axis] for axis in Axis}
    return {axis: kept for axis, kept in found.items() if kept}


def hygiene(rows: Sequence[ScoredResponse]) -> Hygiene:
    """Give the hygiene of responses; at least one.

    Emptiness and length are those of the text that judges read; run-on turns and loops those of
    all that was generated, where it is known.
    """
    texts = [row.response for row in rows]
    raw = [row.response if row.raw_response is None else row.raw_response for row in rows]
    reasons = [row.stop_reason for row in rows if row.stop_reason is not None]
    return Hygiene(
        n=len(rows),
        empty=empty_share(texts),
        cap=cap_share(reasons) if len(reasons) == len(rows) else None,
        role_tag=role_tag_share(raw),
        repetition=repetition_share(raw),
        mean_words=mean_words(texts),
    )


def improvements(models: Sequence[ModelFigures], base: str | None) -> tuple[Improvement, ...]:
    """Give every model's gain over the base in each rate.

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
