"""Whether two judges say the same: rank correlations, agreement beyond chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignstudy.errors import MetricError


def spearman(a: ArrayLike, b: ArrayLike) -> float | None:
    """Spearman's rank correlation; ties share their mean rank.

    Args:
        a: Shape (n,), finite.
        b: Shape (n,), finite.

    Returns:
        -1 to 1; None where it is undefined: fewer than two values, or one side all alike.

    Raises:
        MetricError: If the two don't match or a value is not finite.

    Source: Spearman 1904, doi:10.2307/1412159.
    """
    from scipy import stats

    one, other = _two(a, b)
    return float(stats.spearmanr(one, other).statistic) if _have_spread(one, other) else None


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float | None:
    """Kendall's tau-b, corrected for ties.

    Args:
        a: Shape (n,), finite.
        b: Shape (n,), finite.

    Returns:
        -1 to 1; None where it is undefined: fewer than two values, or one side all alike.

    Raises:
        MetricError: If the two don't match or a value is not finite.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239.
    """
    from scipy import stats

    one, other = _two(a, b)
    return float(stats.kendalltau(one, other).statistic) if _have_spread(one, other) else None


def cohen_kappa(a: ArrayLike, b: ArrayLike) -> float | None:
    """Cohen's kappa: agreement on labels beyond what chance would give.

    Args:
        a: Labels of any kind (pass or fail), shape (n,).
        b: The other judge's, shape (n,).

    Returns:
        At most 1; 0 is chance; None where it is undefined: both give everything the same label.

    Raises:
        MetricError: If the two don't match or there are none.

    Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    one, other = np.asarray(a), np.asarray(b)
    if one.shape != other.shape or one.ndim != 1 or one.size == 0:
        raise _mismatch(one, other)
    labels, numbers = np.unique(np.concatenate([one, other]), return_inverse=True)
    first, second = numbers[: one.size], numbers[one.size :]
    shares = [np.bincount(side, minlength=labels.size) / one.size for side in (first, second)]
    chance = float(shares[0] @ shares[1])
    if labels.size == 1:
        return None
    return (float(np.mean(first == second)) - chance) / (1.0 - chance)


def _two(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise _mismatch(one, other)
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise MetricError(
            "agreement is not defined on values that are not finite",
            hint="leave out what either judge gave no score",
        )
    return one, other


def _have_spread(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether there are two values or more, not all alike on either side."""
    return one.size > 1 and bool(np.ptp(one) > 0.0 and np.ptp(other) > 0.0)


def _mismatch(one: NDArray[Any], other: NDArray[Any]) -> MetricError:
    return MetricError(
        f"no agreement between arrays of shape {one.shape} and {other.shape}",
        why="both judges must have rated the same items, at least one",
        hint="align their scores by response",
    )
