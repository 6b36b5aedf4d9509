"""Bootstrap over prompts: what another draw of prompts would have given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.records import Estimate
from alignstudy.stats.intervals import LEVEL
from alignstudy.stats.resampling.clusters import checked_labels, sums_by_cluster

_CELLS = 300_000
"""Of a block of resamples: what stays in a core's own cache takes half the time."""


def bootstrap_means(
    values: NDArray[np.float64],
    *,
    draws: int,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Means of resampled prompts; each row is resampled over the prompts that it has.

    A prompt is drawn whole: `values` hold one number a prompt (a mean over training seeds where
    there are several), so that what a prompt's responses share stays together. Rows that have the
    same prompts are resampled together: many rows cost little more than one.

    Args:
        values: One row a quantity, shape (k, n); NaN where a row has no value for a prompt.
        draws: Number of resamples.
        rng: Source of the draws.
        clusters: One label a prompt, shape (n,). A cluster is drawn whole, and a resample's mean is
            the sum over its clusters divided by their number of prompts. None: each prompt is its
            own cluster.

    Returns:
        Resampled means, shape (draws, k).

    Raises:
        MetricError: If a row has no value at all, `draws` is below 1, or the labels don't fit.

    Source: Efron and Tibshirani 1993, chapter 6; Field and Welsh 2007,
        doi:10.1111/j.1467-9868.2007.00593.x, for clusters.
    """
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    present = ~np.isnan(matrix)
    if draws < 1 or not present.any(axis=1).all():
        raise MetricError(
            "a bootstrap needs at least one draw, and a value in every row",
            hint="leave out what has no score, and ask for at least one draw",
        )
    whole = None if clusters is None else checked_labels(clusters, matrix.shape[1])
    means = np.empty((draws, len(matrix)))
    masks, group_of = np.unique(present, axis=0, return_inverse=True)
    for group, mask in enumerate(masks):
        rows, columns = np.flatnonzero(group_of.reshape(-1) == group), np.flatnonzero(mask)
        part = matrix[np.ix_(rows, columns)]
        if whole is None:
            means[:, rows] = resampled_sums(part, draws=draws, rng=rng) / columns.size
            continue
        sums, sizes = sums_by_cluster(part, whole[columns])
        drawn = resampled_sums(np.vstack([sums, sizes]), draws=draws, rng=rng)
        means[:, rows] = drawn[:, :-1] / drawn[:, -1:]
    return means


def resampled_sums(
    matrix: NDArray[np.float64], *, draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Sums of each row over units drawn with replacement, as many as there are.

    Args:
        matrix: One row a quantity, one column a unit (prompt or cluster), shape (k, units), finite.
        draws: Number of resamples.
        rng: Source of the draws.

    Returns:
        Shape (draws, k); all rows of one resample are sums over the same units.
    """
    num_units = matrix.shape[1]
    columns = np.ascontiguousarray(matrix.T)
    sums = np.empty((draws, len(matrix)))
    block = max(1, _CELLS // num_units)
    narrow = np.uint16 if num_units <= np.iinfo(np.uint16).max else np.int64
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, num_units, size=(size, num_units), dtype=narrow)
        drawn = drawn + np.arange(size)[:, None] * num_units
        times = np.bincount(drawn.ravel(), minlength=size * num_units)
        sums[start : start + size] = times.reshape(size, num_units) @ columns
    return sums


def percentile_estimate(
    value: float, replicates: NDArray[np.float64], *, n: int, method: str = "bootstrap"
) -> Estimate:
    """Return an estimate with the percentile interval of its bootstrap replicates.

    Args:
        value: The point estimate.
        replicates: Bootstrap replicates of it, shape (draws,).
        n: Number of prompts.
        method: What the estimate says of its interval.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), n=n, method=method)
