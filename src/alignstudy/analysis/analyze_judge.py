"""From scored responses to everything that can be said about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from alignstudy.analysis.comparisons.omnibus import omnibus_tests
from alignstudy.analysis.comparisons.pair_table import pair_tables
from alignstudy.analysis.comparisons.pair_tests import compare_pairs
from alignstudy.analysis.comparisons.ranking import rankings
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.estimates import (
    best_shares,
    improvements,
    metric_estimates,
    model_figures,
)
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.notes import notes_on
from alignstudy.analysis.results import Analysis, Lineage, Thresholds
from alignstudy.analysis.robustness.lengths import length_effect
from alignstudy.analysis.robustness.seeds import seed_spreads
from alignstudy.analysis.robustness.sensitivity import sensitivities
from alignstudy.analysis.robustness.sweeps import sweep_of
from alignstudy.analysis.robustness.variance import variance_splits
from alignstudy.analysis.robustness.winner import winner_leads
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, models_of, usable
from alignstudy.errors import DataError, InputError
from alignstudy.metrics.axes import axes_of
from alignstudy.metrics.figures import rates_of
from alignstudy.records import Axis, ScoredResponse


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
    lineages: Mapping[str, Lineage] | None = None,
    control: str | None = None,
) -> Analysis:
    """Analyse the scored responses of all models.

    Responses are aligned by prompt id; scores are rounded as `thresholds` says, and exported so.
    One without a score enters nothing, and is counted; a prompt too long for one is left out.

    Args:
        responses: Rows of every model and training seed.
        thresholds: What passes, axis by axis.
        judge: Whose scores to use.
        base: The model that comparisons are with first; None for none.
        draws: Bootstrap resamples; sign-flip tests use up to 20 times as many.
        seed: Of the resamples: the same input gives the same numbers.
        clusters: Prompt id -> its cluster of near-duplicates, drawn together; others are alone.
        margins: Within which distance two models count as alike; None: those of `Margins`.
        sweep: Thresholds to try, ascending, by axis; None: 61 over the middle 95 % of scores.
        axes: Those of the study, in the order of the draws; None: those of the responses.
        lineages: Model -> what it grew from; None: not known.
        control: The declared one, that all others are held against; None for none.

    Raises:
        DataError: If there are no responses, rows can't be aligned, or two models share no prompt.
        InputError: If `base` or `control` is no model, one has no score, or a sweep doesn't ascend.
    """
    names, (rows, num_too_long) = models_of(responses), usable(responses)
    _check(names, {"base": base, "control": control}, rows, draws)
    axes = axes_of(row.axis for row in responses) if axes is None else tuple(axes)
    panels = build_matrices(rows, thresholds, axes=axes, judge=judge, clusters=clusters)
    resampler = Resampler(draws, np.random.default_rng(seed))
    merits = metric_estimates(panels, axes, resampler)
    models = model_figures(names, rows, merits, axes=axes, judge=judge)
    found = Analysis(
        judge=judge,
        axes=axes,
        thresholds=thresholds,
        models=models,
        improvements=improvements(models, rates_of(axes), base),
        comparisons=(),
        notes=notes_on(rows, panels, models, thresholds, axes, judge, num_too_long),
        base=base,
        seeds=tuple(sorted({row.seed for row in responses})),
        sensitivities=sensitivities(rows, thresholds, axes=axes, judge=judge),
        best_shares=best_shares(merits),
        lineages=dict(lineages or {}),
    )
    return _compared(found, panels, margins or Margins(), sweep or {}, control, resampler)


def _compared(
    found: Analysis,
    panels: dict[str, ScoreMatrix],
    margins: Margins,
    grids: Mapping[str, Sequence[float]],
    control: str | None,
    resampler: Resampler,
) -> Analysis:
    """Add what compares models and seeds; draws follow one another in this order."""
    base, thresholds = found.base, found.thresholds
    tables = pair_tables(panels, axes=found.axes, base=base, lineages=found.lineages)
    comparisons = compare_pairs(tables, base=base, margins=margins, resampler=resampler)
    best_sets, control_tests = rankings(tables, control=control, seed=0)
    sweeps = [
        sweep_of(panel, thresholds, base=base, grid=grids.get(axis), resampler=resampler)
        for axis, panel in panels.items()
        if thresholds.of(axis) is not None
    ]
    lengths = [length_effect(panel, base=base, resampler=resampler) for panel in panels.values()]
    clusters = {}
    for axis, panel in panels.items():
        numbers = panel.cluster_of.tolist()
        sizes = Counter(numbers)
        for prompt_id, number in zip(panel.prompt_ids, numbers, strict=True):
            if sizes[number] > 1:
                clusters[prompt_id] = f"{axis}-cluster-{number}"
    return replace(
        found,
        comparisons=comparisons,
        omnibus=omnibus_tests(panels),
        sweeps=tuple(filter(None, sweeps)),
        lengths=tuple(filter(None, lengths)),
        seed_spreads=seed_spreads(panels, found.axes),
        winner_leads=winner_leads(panels, found.axes, seed=0),
        control=control,
        best_sets=best_sets,
        control_tests=control_tests,
        variances=variance_splits(panels),
        clusters=clusters,
    )


def _check(
    names: Sequence[str],
    roles: Mapping[str, str | None],
    rows: Sequence[ScoredResponse],
    draws: int,
) -> None:
    """Refuse what has nothing to analyse."""
    if draws < 1:
        raise InputError(f"draws: {draws} bootstrap resamples", hint="ask for at least 1")
    if not names:
        raise DataError("no responses to analyse", hint="generate and score responses first")
    if not rows:
        raise DataError(
            "no prompt is left to analyse",
            why="each was too long for some model",
            hint="choose shorter prompts or models with a longer context",
        )
    for role, name in roles.items():
        if name is not None and name not in names:
            raise InputError(
                f"the {role} '{name}' is not among the models",
                hint=f"choose one of: {', '.join(names)}",
            )
