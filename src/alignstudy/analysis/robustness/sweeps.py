"""Every rate over a grid of thresholds: does a finding depend on where the line was drawn?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.score_matrix import ScoreMatrix, known_mean
from alignstudy.errors import InputError
from alignstudy.metrics.rates import above
from alignstudy.records import DECIMALS
from alignstudy.records.robustness import PairSweep, Sweep
from alignstudy.stats.intervals import wilson
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.resampling.bootstrap import bootstrap_means
from alignstudy.stats.resampling.permutation import sign_flip
from alignstudy.stats.sweep import rankings, sweep_rates

STEPS = 61
"""Thresholds of the default grid."""

LEVEL = 0.05
"""Below which an uncorrected p-value counts as shown at one threshold."""

_DRAWS = 1_000
_FLIPS = 2_000


def sweep_of(
    panel: ScoreMatrix,
    thresholds: Thresholds,
    *,
    base: str | None,
    grid: Sequence[float] | None,
    resampler: Resampler,
) -> Sweep | None:
    """Return every model's rate over a grid of thresholds; None where no model has a score.

    With several seeds, samples or clusters of near-duplicate prompts, intervals are percentiles of
    1,000 resamples of clusters, and p-values are of 2,000 sign flips over clusters.

    Args:
        panel: The scores of one prompt set.
        thresholds: Says whether a score equal to the threshold counts, and which direction of a
            pair is that of the study.
        base: The reference of the pairs that it is in.
        grid: Thresholds; None for 61 equally spaced ones, rounded to two decimals, between the
            2.5 % and the 97.5 % quantile of all scores (to four where two make some equal, not
            at all where four do).
        resampler: Source of resamples.

    Raises:
        InputError: If a grid is given that is empty, not finite or not ascending.
    """
    models = panel.known()
    if not models:
        return None
    rows = panel.rows(models)
    scores = panel.by_sample[rows]
    steps = _grid(grid, scores)
    # What fails whatever its score passes no threshold; what has no score still enters nothing.
    failed = panel.failed[rows] & ~np.isnan(scores)
    scores = np.where(failed, min(steps[0], np.nanmin(scores)) - 1.0, scores)
    rates = np.round(sweep_rates(scores, steps, inclusive=thresholds.inclusive), 9)
    there = ~np.isnan(scores)
    # The share that passes, shape (models, thresholds, prompts); NaN if unknown.
    passed = np.empty((len(scores), len(steps), scores.shape[3]), dtype=np.float32)
    for index, step in enumerate(steps):
        passes = above(scores, step, inclusive=thresholds.inclusive)
        by_seed = known_mean(np.where(there, passes, np.nan), axis=2)
        passed[:, index] = known_mean(by_seed, axis=1)
    low, high = _intervals(panel, passed, resampler)
    first = rates >= rates.max(axis=0) - 1e-9
    shares = 100.0 * (first / first.sum(axis=0)).mean(axis=1)
    return Sweep(
        axis=panel.axis.name,
        thresholds=tuple(steps.tolist()),
        rates=_by_model(models, rates),
        low=_by_model(models, low),
        high=_by_model(models, high),
        leaders=tuple(
            tuple(models[index] for index in np.flatnonzero(column)) for column in first.T
        ),
        best_share=dict(zip(models, shares.tolist(), strict=True)),
        num_rankings=rankings(rates),
        pairs=_pairs(panel, dict(zip(models, passed, strict=True)), base=base, resampler=resampler),
    )


def _grid(given: Sequence[float] | None, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if given is not None:
        steps = np.asarray(given, dtype=np.float64)
        if not steps.size or not np.isfinite(steps).all() or (np.diff(steps) <= 0).any():
            raise InputError(
                "a sweep's thresholds are not ascending numbers",
                hint="give at least one threshold, each above the one before",
            )
        return steps
    low, high = np.quantile(scores[~np.isnan(scores)], [0.025, 0.975])
    steps = np.linspace(low, high, STEPS)
    # Two decimals read well; a judge whose unit is too small for them gets four.
    coarse, fine = (np.unique(np.round(steps, digits) + 0.0) for digits in (2, DECIMALS))
    return next((found for found in (coarse, fine) if len(found) == STEPS), np.unique(steps))


def _by_model(models: Sequence[str], table: NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
    return {model: tuple(row) for model, row in zip(models, table.tolist(), strict=True)}


def _intervals(
    panel: ScoreMatrix, passed: NDArray[np.float32], resampler: Resampler
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the rates' intervals, each of shape (models, thresholds)."""
    models, steps, prompts = passed.shape
    if panel.has_shares or panel.clusters is not None:
        flat = 100.0 * passed.reshape(models * steps, prompts).astype(np.float64)
        draws = min(_DRAWS, resampler.draws)
        means = bootstrap_means(flat, draws=draws, rng=resampler.rng, clusters=panel.clusters)
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
        return low.reshape(models, steps), high.reshape(models, steps)
    sizes = (~np.isnan(passed)).sum(axis=2)
    found = [
        [wilson(round(float(np.nansum(row))), int(n)) for row, n in zip(rows, ns, strict=True)]
        for rows, ns in zip(passed, sizes, strict=True)
    ]
    ends = np.array([[(estimate.low, estimate.high) for estimate in row] for row in found])
    return ends[..., 0], ends[..., 1]


def _pairs(
    panel: ScoreMatrix,
    passed: dict[str, NDArray[np.float32]],
    *,
    base: str | None,
    resampler: Resampler,
) -> tuple[PairSweep, ...]:
    found = []
    for reference, model in panel.pairs(base):
        differences = passed[model] - passed[reference]
        at_study = 0.0
        if panel.passed is not None:
            ours, theirs = (panel.passed[panel.row(name)] for name in (model, reference))
            at_study = round(float(np.nansum(ours - theirs)), 3)
        # Shares are single-precision: what rounds to nothing is nothing.
        mean = np.round(np.nansum(differences, axis=1, dtype=np.float64), 3)
        # Not corrected, at every threshold; 1 with too few prompts for a test.
        known = ~np.isnan(differences[0])
        if known.sum() < MIN_PROMPTS:
            p_values = np.ones(len(differences))
        elif panel.has_shares or panel.clusters is not None:
            p_values = sign_flip(
                differences[:, known].astype(np.float64),
                rng=resampler.rng,
                flips=_FLIPS,
                clusters=panel.cluster_of[known],
            )
        else:
            wins, losses = (differences > 0).sum(axis=1), (differences < 0).sum(axis=1)
            counts = zip(wins.tolist(), losses.tolist(), strict=True)
            p_values = np.array([mcnemar_exact(won, lost) for won, lost in counts])
        shown = (p_values < LEVEL) & (np.sign(mean) == np.sign(at_study)) & (at_study != 0)
        found.append(
            PairSweep(
                model=model,
                reference=reference,
                better_share=100.0 * float(np.mean(mean > 0)),
                worse_share=100.0 * float(np.mean(mean < 0)),
                shown_share=100.0 * float(np.mean(shown)),
            )
        )
    return tuple(found)
