"""Ranks with ties, and the correlation that rank statistics share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank from 1 for the lowest; equal values share their mean rank.

    Args:
        values: Shape (n,), finite.

    Returns:
        Shape (n,).
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[place])


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Pearson's correlation; None where either side has no spread.

    Args:
        a: Shape (n,).
        b: Shape (n,).
    """
    if a.size < 2 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None
    one, other = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
    return float(min(1.0, max(-1.0, float(one @ other) / scale)))
