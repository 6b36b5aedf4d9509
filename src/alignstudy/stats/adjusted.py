"""Scores and length: what is left of a difference between responses of equal length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.records import Estimate
from alignstudy.stats.agreement import spearman
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

_RELATIVE = 1e-12
"""Sums of squares below this share of the original's are rounding errors."""


def length_adjusted_rows(
    differences: NDArray[np.float64],
    length_differences: NDArray[np.float64],
    *,
    draws: int,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
) -> list[Estimate | None]:
    """Mean score differences that a straight line gives for responses of equal length.

    The intercept of each pair's least-squares line of score difference on length difference, with
    the percentile interval of resampled prompts (clusters), all pairs resampled together. A
    resample whose length differences are all alike has no line, and its plain mean is taken.

    Args:
        differences: Score of the model minus that of the reference, one row a pair, shape (k, n);
            NaN where a pair lacks a prompt.
        length_differences: The same of the lengths (characters or tokens), shape (k, n), finite
            where `differences` are.
        draws: Number of resamples.
        rng: Source of the draws.
        clusters: One label a prompt, shape (n,); a cluster is drawn whole.

    Returns:
        One a row, in the judge's unit, method "bootstrap"; None where there is no line: fewer than
        three prompts, or all with the same difference in length.

    Raises:
        MetricError: If the shapes differ or a length is missing.

    Source: After Dubois et al. 2024, arXiv:2404.04475, who regress the preference on length and
        read it off at equal length.
    """
    _check_rows(differences, length_differences)
    there = ~np.isnan(np.asarray(differences, dtype=np.float64))
    has_line = [
        mask.sum() >= 3 and np.ptp(row[mask]) > 0.0
        for row, mask in zip(length_differences, there, strict=True)
    ]
    found: list[Estimate | None] = [None] * len(has_line)
    lines = np.flatnonzero(has_line)
    if not lines.size:
        return found
    y = np.where(there, differences, np.nan)[lines]
    x = np.where(there, length_differences, np.nan)[lines]
    # A length difference of 0 must stay 0, but its scale is free.
    x = x / np.nanmax(np.abs(x), axis=1, keepdims=True)
    moments = np.stack([y, x, x * x, x * y], axis=1)
    drawn = bootstrap_means(
        moments.reshape(-1, moments.shape[2]), draws=draws, rng=rng, clusters=clusters
    ).reshape(draws, lines.size, 4)
    for place, row in enumerate(lines):
        means = np.nanmean(moments[place], axis=1)
        least = _RELATIVE * float(means[2])
        [value] = _intercepts(means[None, :], least)
        found[row] = percentile_estimate(
            float(value), _intercepts(drawn[:, place], least), n=int(there[row].sum())
        )
    return found


def _check_rows(differences: NDArray[np.float64], lengths: NDArray[np.float64]) -> None:
    """Refuse rows of other shapes, or a length that is missing where there is a difference."""
    given = np.array(differences, dtype=np.float64)
    known = np.array(lengths, dtype=np.float64)
    if known.shape == given.shape:
        missing = np.isnan(given)
        given[missing] = known[missing] = 0.0
    _two(given, known)


def _intercepts(moments: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Intercepts from the means of y, x, x^2 and xy, one a row; the mean of y without a line.

    Args:
        moments: Shape (m, 4).
        least: Variance of x from which there is a line.
    """
    mean_y, mean_x, mean_xx, mean_xy = moments.T
    spread = mean_xx - mean_x**2
    has_line = spread > least
    slope = np.divide(mean_xy - mean_x * mean_y, spread, out=np.zeros_like(spread), where=has_line)
    return np.asarray(mean_y - slope * mean_x)


def within_rank_correlation(
    scores: NDArray[np.float64], lengths: NDArray[np.float64]
) -> float | None:
    """Spearman's correlation of score and length within prompt and model.

    Both are centred first: less the prompt's mean, less the model's, plus the mean of all; what
    remains is neither a long prompt's nor a wordy model's.

    Args:
        scores: Shape (models, n).
        lengths: Shape (models, n), in characters or tokens.

    Returns:
        -1 to 1; None where it is undefined: one model, one prompt, or nothing left to rank.

    Raises:
        MetricError: If the shapes differ or a value is not finite.
    """
    one, other = _two(scores, lengths)
    if one.ndim != 2:
        raise MetricError(
            f"scores of shape {one.shape} have no models to compare within",
            hint="give one row a model, one column a prompt",
        )
    return spearman(_centred(one).ravel(), _centred(other).ravel())


def _centred(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take prompt and model means off; what is left of equal values is exactly equal."""
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    unit = float(np.abs(table).max(initial=0.0)) * 1e-10 or 1.0
    return np.asarray(np.round(left / unit) * unit)


def _two(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise MetricError(
            f"scores of shape {one.shape} and lengths of shape {other.shape} don't go together",
            why="each score needs its length, and both must be finite",
            hint="leave out prompts without a score",
        )
    return one, other
