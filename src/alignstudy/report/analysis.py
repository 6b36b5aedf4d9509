"""From scored responses to everything that can be said about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignstudy.errors import DataError, InputError
from alignstudy.records import ScoredResponse
from alignstudy.report.merits import improvements, model_figures
from alignstudy.report.notes import notes_on
from alignstudy.report.pairs import compare_pairs
from alignstudy.report.panels import build_panels, models_of, usable
from alignstudy.report.results import (
    Analysis,
    Comparison,
    Hygiene,
    Improvement,
    ModelFigures,
    Thresholds,
)

__all__ = [
    "Analysis",
    "Comparison",
    "Hygiene",
    "Improvement",
    "ModelFigures",
    "Thresholds",
    "analyse",
]


def analyse(
    responses: Sequence[ScoredResponse],
    thresholds: Thresholds,
    *,
    judge: str,
    base: str | None,
    draws: int = 10_000,
    seed: int = 0,
) -> Analysis:
    """Analyse the scored responses of all models.

    Responses are aligned by prompt id, never by order. Scores are rounded to four decimals first,
    as the published study does, so that every number follows from the exported ratings. A response
    without a finite score enters no rate, no mean and no paired test; how many there are is noted.
    A prompt that was too long for one model is left out for all.

    Args:
        responses: Rows of every model and training seed.
        thresholds: What counts as harmless and as helpful.
        judge: Whose scores to use.
        base: The model that the others are measured against; None for none.
        draws: Bootstrap resamples; sign-flip tests use 20 times as many random patterns.
        seed: Of the resamples: the same input gives the same numbers.

    Raises:
        DataError: If there are no responses, rows can't be aligned, or two models share no prompt.
        InputError: If `base` is no model of the responses or the judge didn't score one.
    """
    if draws < 1:
        raise InputError(f"draws: {draws} bootstrap resamples", mend="ask for at least 1")
    rows, num_too_long = usable(responses)
    names = models_of(responses)
    _check(names, base, rows)
    panels = build_panels(rows, thresholds, judge=judge)
    rng = np.random.default_rng(seed)
    models = tuple(
        model_figures(
            name, [row for row in rows if row.model == name], panels, thresholds,
            judge=judge, draws=draws, rng=rng,
        )
        for name in names
    )  # fmt: skip
    comparisons = compare_pairs(
        panels,
        base=base,
        several_seeds=any(figures.num_seeds > 1 for figures in models),
        draws=draws,
        rng=rng,
    )
    return Analysis(
        judge=judge,
        thresholds=thresholds,
        models=models,
        improvements=improvements(models, base),
        comparisons=comparisons,
        notes=notes_on(rows, panels, models, thresholds, judge=judge, num_too_long=num_too_long),
        base=base,
        seeds=tuple(sorted({row.seed for row in responses})),
    )


def _check(names: Sequence[str], base: str | None, rows: Sequence[ScoredResponse]) -> None:
    """Refuse what has nothing to analyse."""
    if not names:
        raise DataError("no responses to analyse", mend="generate and score responses first")
    if not rows:
        raise DataError(
            "no prompt is left to analyse",
            why="each was too long for some model",
            mend="choose shorter prompts or models with a longer context",
        )
    if base is not None and base not in names:
        raise InputError(
            f"the base '{base}' is not among the models",
            mend=f"choose one of: {', '.join(names)}",
        )
