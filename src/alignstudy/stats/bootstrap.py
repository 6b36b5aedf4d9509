"""Bootstrap over prompts: what another draw of prompts would have given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alignstudy.errors import MetricError
from alignstudy.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELLS = 4_000_000


def bootstrap_means(
    values: NDArray[np.float64], *, draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of resampled prompts; each row is resampled over the prompts that it has.

    A prompt is drawn whole: `values` hold one number a prompt (a mean over training seeds where
    there are several), so that what a prompt's responses share stays together. Rows that have the
    same prompts are resampled together.

    Args:
        values: One row a quantity, shape (k, n); NaN where a row has no value for a prompt.
        draws: Number of resamples.
        rng: Source of the draws.

    Returns:
        Resampled means, shape (draws, k).

    Raises:
        MetricError: If a row has no value at all, or `draws` is below 1.
    """
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    present = ~np.isnan(matrix)
    if draws < 1 or not present.any(axis=1).all():
        raise MetricError("a bootstrap needs at least one draw, and a value in every row")
    means = np.empty((draws, len(matrix)))
    masks, group_of = np.unique(present, axis=0, return_inverse=True)
    for group, mask in enumerate(masks):
        rows = np.flatnonzero(group_of.reshape(-1) == group)
        means[:, rows] = _resampled(matrix[np.ix_(rows, np.flatnonzero(mask))], draws, rng)
    return means


def _resampled(
    matrix: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Resample complete rows together, in blocks to bound memory."""
    num_prompts = matrix.shape[1]
    columns = np.ascontiguousarray(matrix.T)
    means = np.empty((draws, len(matrix)))
    block = max(1, _CELLS // num_prompts)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, num_prompts, size=(size, num_prompts))
        drawn += np.arange(size)[:, None] * num_prompts
        times = np.bincount(drawn.ravel(), minlength=size * num_prompts)
        means[start : start + size] = times.reshape(size, num_prompts) @ columns / num_prompts
    return means


def percentile_estimate(
    value: float,
    replicates: NDArray[np.float64],
    *,
    n: int,
    method: str = "bootstrap",
    level: float = 0.95,
) -> Estimate:
    """Give an estimate with the percentile interval of its bootstrap replicates.

    Args:
        value: The point estimate.
        replicates: Bootstrap replicates of it, shape (draws,).
        n: Number of prompts.
        method: What the estimate says of its interval.
        level: Coverage.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=value, low=float(low), high=float(high), n=n, method=method, level=level)
