"""From scored responses to everything that can be said about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alignstudy.analysis.comparisons.best import best_shares
from alignstudy.analysis.comparisons.omnibus import omnibus_tests
from alignstudy.analysis.comparisons.pairs import compare_pairs
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.estimates import AxisEstimates, axis_estimates, improvements, model_figures
from alignstudy.analysis.hygiene import word_budget
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.notes import notes_on
from alignstudy.analysis.results import (
    Analysis,
    Comparison,
    Hygiene,
    Improvement,
    ModelFigures,
    Thresholds,
)
from alignstudy.analysis.robustness.lengths import length_effect
from alignstudy.analysis.robustness.seeds import seed_spreads
from alignstudy.analysis.robustness.sensitivity import sensitivities
from alignstudy.analysis.robustness.sweeps import sweep_of
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, models_of, usable
from alignstudy.errors import DataError, InputError
from alignstudy.metrics.axes import axes_of
from alignstudy.metrics.figures import rates_of
from alignstudy.records import Axis, ScoredResponse
from alignstudy.records.robustness import LengthEffect, Sweep

__all__ = [
    "Analysis",
    "Comparison",
    "Hygiene",
    "Improvement",
    "Margins",
    "ModelFigures",
    "Thresholds",
    "analyze_judge",
]


def analyze_judge(
    responses: Sequence[ScoredResponse],
    thresholds: Thresholds,
    *,
    judge: str,
    base: str | None,
    draws: int = 10_000,
    seed: int = 0,
    clusters: Mapping[str, str] | None = None,
    margins: Margins | None = None,
    sweep: Mapping[str, Sequence[float]] | None = None,
    axes: Sequence[Axis] | None = None,
) -> Analysis:
    """Analyse the scored responses of all models.

    Responses are aligned by prompt id, never by order. Scores are rounded to four decimals first,
    as the published study does, so that every number follows from the exported ratings. A response
    without a finite score enters no rate, no mean and no paired test; how many there are is noted.
    A prompt that was too long for one model is left out for all.

    Args:
        responses: Rows of every model and training seed.
        thresholds: What passes, axis by axis.
        judge: Whose scores to use.
        base: The model that the others are measured against; None for none.
        draws: Bootstrap resamples; sign-flip tests use up to 20 times as many random patterns.
        seed: Of the resamples: the same input gives the same numbers.
        clusters: Prompt id -> name of its cluster of near-duplicates, which are drawn together;
            a prompt that isn't named is alone.
        margins: Within which distance two models count as alike; None: 5 percentage points, and
            0.2 standard deviations of the base's scores.
        sweep: Thresholds to try, ascending, by axis; None: 61 between the 2.5 % and 97.5 %
            quantiles of all scores.
        axes: Those of the study, in the order of the draws; None: those of the responses.

    Raises:
        DataError: If there are no responses, rows can't be aligned, or two models share no prompt.
        InputError: If `base` is no model of the responses, the judge didn't score one, or a sweep
            is not ascending.
    """
    if draws < 1:
        raise InputError(f"draws: {draws} bootstrap resamples", hint="ask for at least 1")
    rows, num_too_long = usable(responses)
    names = models_of(responses)
    _check(names, base, rows)
    axes = axes_of(row.axis for row in responses) if axes is None else tuple(axes)
    laid = AnalysisInputs(
        rows=rows,
        axes=axes,
        panels=build_matrices(rows, thresholds, axes=axes, judge=judge, clusters=clusters),
        thresholds=thresholds,
        judge=judge,
        base=base,
        resampler=Resampler(draws, np.random.default_rng(seed)),
    )
    found = _analysis(laid, names, num_too_long, margins=margins or Margins(), grids=sweep or {})
    return replace(found, seeds=tuple(sorted({row.seed for row in responses})))


@dataclass(frozen=True, kw_only=True)
class AnalysisInputs:
    """Responses laid out for statistics, and what is asked of them."""

    rows: list[ScoredResponse]
    axes: tuple[Axis, ...]
    panels: dict[str, ScoreMatrix]
    thresholds: Thresholds
    judge: str
    base: str | None
    resampler: Resampler


def _analysis(
    laid: AnalysisInputs,
    names: Sequence[str],
    num_too_long: Counter[str],
    *,
    margins: Margins,
    grids: Mapping[str, Sequence[float]],
) -> Analysis:
    """Make every part of an analysis; draws follow one another in this order."""
    panels, thresholds, judge, axes = laid.panels, laid.thresholds, laid.judge, laid.axes
    merits = axis_estimates(panels, laid.resampler)
    models = _models(laid, names, merits)
    return Analysis(
        judge=judge,
        axes=axes,
        thresholds=thresholds,
        models=models,
        improvements=improvements(models, rates_of(axes), laid.base),
        comparisons=compare_pairs(
            panels, axes=axes, base=laid.base, margins=margins, resampler=laid.resampler
        ),
        notes=notes_on(
            laid.rows, panels, models, thresholds, axes=axes, judge=judge, num_too_long=num_too_long
        ),
        base=laid.base,
        seeds=(),
        omnibus=omnibus_tests(panels),
        sweeps=_sweeps(laid, grids),
        lengths=_lengths(laid),
        seed_spreads=seed_spreads(panels, axes),
        sensitivities=sensitivities(laid.rows, thresholds, axes=axes, judge=judge),
        best_shares=best_shares(merits, axes),
        clusters=_near_duplicates(panels),
    )


def _models(
    laid: AnalysisInputs, names: Sequence[str], merits: Mapping[str, AxisEstimates]
) -> tuple[ModelFigures, ...]:
    by_model = _by_model(names, laid.rows)
    # Models' variety is compared at the words that all of them have.
    budgets = {
        axis.name: word_budget(
            _by_model(names, [row for row in laid.rows if row.axis == axis.name])
        )
        for axis in laid.axes
    }
    return tuple(
        model_figures(
            name, by_model[name], merits, axes=laid.axes, judge=laid.judge, budgets=budgets
        )
        for name in names
    )


def _by_model(
    names: Sequence[str], rows: Sequence[ScoredResponse]
) -> dict[str, list[ScoredResponse]]:
    found: dict[str, list[ScoredResponse]] = {name: [] for name in names}
    for row in rows:
        found[row.model].append(row)
    return found


def _near_duplicates(panels: Mapping[str, ScoreMatrix]) -> dict[str, str]:
    """Name the clusters of the prompts that are not alone in theirs."""
    found = {}
    for axis, panel in panels.items():
        sizes = Counter(panel.cluster_of.tolist())
        for prompt_id, number in zip(panel.prompt_ids, panel.cluster_of.tolist(), strict=True):
            if sizes[number] > 1:
                found[prompt_id] = f"{axis}-cluster-{number}"
    return found


def _sweeps(laid: AnalysisInputs, grids: Mapping[str, Sequence[float]]) -> tuple[Sweep, ...]:
    """Sweep every axis that has a threshold."""
    found = (
        sweep_of(
            panel,
            laid.thresholds,
            base=laid.base,
            grid=grids.get(axis),
            resampler=laid.resampler,
        )
        for axis, panel in laid.panels.items()
        if laid.thresholds.of(axis) is not None
    )
    return tuple(item for item in found if item is not None)


def _lengths(laid: AnalysisInputs) -> tuple[LengthEffect, ...]:
    found = (
        length_effect(panel, base=laid.base, resampler=laid.resampler)
        for panel in laid.panels.values()
    )
    return tuple(item for item in found if item is not None)


def _check(names: Sequence[str], base: str | None, rows: Sequence[ScoredResponse]) -> None:
    """Refuse what has nothing to analyse."""
    if not names:
        raise DataError("no responses to analyse", hint="generate and score responses first")
    if not rows:
        raise DataError(
            "no prompt is left to analyse",
            why="each was too long for some model",
            hint="choose shorter prompts or models with a longer context",
        )
    if base is not None and base not in names:
        raise InputError(
            f"the base '{base}' is not among the models",
            hint=f"choose one of: {', '.join(names)}",
        )
