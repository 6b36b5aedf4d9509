"""How large a paired difference is, apart from whether it is real."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.records import Estimate
from alignstudy.stats.intervals import tango


def cohens_dz(differences: NDArray[np.float64]) -> float | None:
    """Cohen's d_z: the mean paired difference over its standard deviation (n - 1).

    Args:
        differences: One a prompt, shape (n,).

    Returns:
        The effect, signed; None where it is undefined: fewer than two prompts, or no spread.

    Raises:
        MetricError: If a difference is not finite.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, eq. 2.3.5;
        Lakens 2013, doi:10.3389/fpsyg.2013.00863, eq. 6.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise MetricError(
            "an effect size needs finite differences",
            hint="leave out prompts for which either model has no score",
        )
    if values.size < 2 or np.ptp(values) == 0.0:
        return None
    return float(values.mean() / values.std(ddof=1))


def win_rate_interval(wins: int, losses: int, ties: int) -> Estimate:
    """Share of prompts on which the model did better, ties counting one half, in percent.

    The win rate is 50 plus half the difference of two paired shares (better, worse), so Tango's
    interval of that difference gives its interval.

    Args:
        wins: Prompts on which the model did better.
        losses: Prompts on which the reference did better.
        ties: Prompts on which they did equally well.

    Returns:
        0 to 100, method "tango".

    Raises:
        MetricError: If there are no prompts or a count is negative.

    Source: Tango 1998, Statistics in Medicine 17, 891-908.
    """
    if ties < 0:
        raise MetricError(
            f"impossible number of ties: {ties}",
            why="a count is not negative",
            hint="count the prompts on which both did equally well",
        )
    difference = tango(wins, losses, wins + losses + ties)
    return Estimate(
        value=50.0 + difference.value / 2.0,
        low=50.0 + difference.low / 2.0,
        high=50.0 + difference.high / 2.0,
        n=difference.n,
        method=difference.method,
    )
