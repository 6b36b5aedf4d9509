"""How much data a paired comparison needs, and how much it had.

Rates are compared by McNemar's exact test, mean scores by a test that is as powerful as the paired
t-test, CAS by the normal distribution of a mean over two prompt sets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.records.robustness import Power
from alignstudy.stats.intervals import check_paired
from alignstudy.stats.power.mcnemar_design import mcnemar_detectable, mcnemar_n, mcnemar_power
from alignstudy.stats.power.mean_design import mean_n, mean_power, normal_n, normal_power
from alignstudy.stats.power.planning import POWER, smallest


def rate_power(wins: int, losses: int, n: int) -> Power:
    """Power of McNemar's exact test at the observed shares of wins and losses.

    The detectable difference, in percentage points, is the one at the observed discordance. Where
    even all discordant prompts on one side would not be enough, it is the smallest share of
    prompts that would be if only one model ever won. `n_needed` is Connor's.

    Args:
        wins: Prompts on which only the model succeeds.
        losses: Prompts on which only the reference does.
        n: All paired prompts; with fewer than six the exact test can't reject at all.

    Raises:
        MetricError: If the counts are impossible or nothing is detectable with `n`.
    """
    check_paired(wins, losses, n)
    detectable = mcnemar_detectable((wins + losses) / n, n)
    if detectable is None:
        # The smallest share of wins that is found where there are no losses.
        if mcnemar_power(1.0, 0.0, n) < POWER:
            raise MetricError(
                f"no difference of rates is detectable on {n} prompts",
                why="McNemar's exact test needs six discordant prompts to reject at 5 %",
                hint="compare the models on more prompts",
            )
        detectable = smallest(lambda share: mcnemar_power(share, 0.0, n) >= POWER, most=1.0)
    return Power(
        power=100.0 * mcnemar_power(wins / n, losses / n, n),
        detectable=100.0 * detectable,
        n_needed=mcnemar_n(wins / n, losses / n),
    )


def mean_power_of(differences: NDArray[np.float64]) -> Power:
    """Power at the observed mean and standard deviation of paired differences.

    Args:
        differences: Shape (n,), n >= 2, in the judge's unit (or any).

    Returns:
        Power by `mean_power`; where all differences are alike, 100 % or (all zero) 0 %, and
        nothing is too small to detect.

    Raises:
        MetricError: If there are fewer than two differences or one is not finite.
    """
    values = _finite(differences)
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if np.ptp(values) == 0.0:
        return _power_without_spread(mean)
    unit = smallest(lambda effect: mean_power(effect, values.size) >= POWER, most=1e3)
    return Power(
        power=100.0 * mean_power(mean / deviation, values.size),
        detectable=unit * deviation,
        n_needed=mean_n(mean / deviation),
    )


def stratified_power(strata: Sequence[NDArray[np.float64]]) -> Power:
    """Power for the mean of the strata's mean differences (CAS: of the prompt sets' rates).

    By the normal distribution, with the strata's own standard deviations (n - 1).

    Args:
        strata: Paired differences of each prompt set, each of shape (n_s,), n_s >= 2.

    Returns:
        In the differences' unit; `n_needed` counts the prompts of each set.

    Raises:
        MetricError: If there is no stratum, or one has fewer than two finite differences.
    """
    parts = [_finite(part) for part in strata]
    if not parts:
        raise MetricError("no strata to take the mean of", hint="give the differences by set")
    difference = float(np.mean([part.mean() for part in parts]))
    variances = [float(part.var(ddof=1)) for part in parts]
    if all(np.ptp(part) == 0.0 for part in parts):
        return _power_without_spread(difference)
    sizes = [part.size for part in parts]
    error = math.sqrt(sum(v / n for v, n in zip(variances, sizes, strict=True))) / len(parts)
    unit = smallest(lambda shift: normal_power(shift) >= POWER, most=100.0)
    return Power(
        power=100.0 * normal_power(abs(difference) / error),
        detectable=unit * error,
        n_needed=normal_n(abs(difference), math.sqrt(sum(variances)) / len(parts)),
    )


def _power_without_spread(difference: float) -> Power:
    """Return the power where all differences are alike."""
    found = difference != 0.0
    return Power(power=100.0 if found else 0.0, detectable=None, n_needed=2 if found else None)


def _finite(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise MetricError(
            f"no power from {values.size} paired differences",
            why="at least two finite ones are needed for a standard deviation",
            hint="leave prompts without a score out, or give more prompts",
        )
    return values
