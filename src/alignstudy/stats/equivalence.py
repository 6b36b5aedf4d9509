"""Tests that two models differ by less than a margin: absence of a difference, shown."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.stats.intervals import check_paired, tango_score


def tost_mean(differences: NDArray[np.float64], margin: float) -> float:
    """Two one-sided paired t-tests that the mean difference lies within the margin.

    Args:
        differences: One a prompt (several seeds: of the means over seeds), shape (n,), n >= 2.
        margin: Largest difference that doesn't matter, above 0, in the differences' unit.

    Returns:
        The larger of the two p-values: below 0.05 the 90 % interval lies within the margin. Where
        all differences are alike, the limit: 0 within the margin, else 1.

    Raises:
        MetricError: If there are fewer than two differences, one is not finite, or the margin is
            not a positive number.

    Source: Schuirmann 1987, doi:10.1007/BF01068419.
    """
    from scipy import special

    values = np.asarray(differences, dtype=np.float64)
    _check_margin(margin)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise MetricError(
            f"no equivalence test on {values.size} paired differences",
            why="a t-test needs at least two, all finite",
            hint="leave prompts without a score out, or give more prompts",
        )
    mean, size = float(values.mean()), values.size
    if np.ptp(values) == 0.0:
        return 0.0 if abs(mean) < margin else 1.0
    error = float(values.std(ddof=1)) / math.sqrt(size)
    return float(special.stdtr(size - 1, (abs(mean) - margin) / error))


def tost_rates(wins: int, losses: int, n: int, margin_points: float) -> float:
    """Two one-sided score tests that two paired rates differ by less than the margin.

    Args:
        wins: Prompts on which only the model succeeds.
        losses: Prompts on which only the reference succeeds.
        n: All paired prompts.
        margin_points: Largest difference that doesn't matter, percentage points, 0 to 100.

    Returns:
        The larger of the two p-values: below 0.05 Tango's 90 % interval lies within the margin.

    Raises:
        MetricError: If the counts are impossible, or the margin is.

    Source: Tango 1998, Statistics in Medicine 17, 891-908, section 3.
    """
    _check_margin(margin_points)
    if margin_points >= 100.0:
        raise MetricError(
            f"a margin of {margin_points} percentage points",
            why="no two rates differ by more than 100",
            hint="give a margin below 100",
        )
    check_paired(wins, losses, n)
    margin = margin_points / 100.0
    normal = NormalDist()
    above = normal.cdf(-tango_score(wins, losses, n, -margin))
    below = normal.cdf(tango_score(wins, losses, n, margin))
    return max(above, below)


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin > 0.0):
        raise MetricError(
            f"a margin of equivalence of {margin}",
            why="only differences below a positive margin can be shown to be small",
            hint="give the largest difference that doesn't matter to you",
        )
