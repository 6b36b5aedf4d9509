"""The paired t-test before the data: its power, and the prompts that it needs."""

from __future__ import annotations

import math
from statistics import NormalDist

from alignstudy.errors import MetricError
from alignstudy.stats.power.planning import ALPHA, MOST, POWER, crossing

_NORMAL_FROM = 2_000
"""From so many prompts on, Student's t and the normal differ by less than 0.1 points of power."""


def mean_power(effect_size: float, n: int) -> float:
    """Power of the paired t-test, near which the sign-flip test's lies.

    Args:
        effect_size: Mean difference over its standard deviation (Cohen's d_z).
        n: Paired prompts, at least 2.

    Returns:
        The power, 0 to 1, by the noncentral t distribution; from 2,000 prompts by the normal.

    Raises:
        MetricError: If the effect is not finite or `n` is impossible.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 2.
    """
    from scipy import special

    if not math.isfinite(effect_size) or n < 2:
        raise MetricError(
            f"no power for an effect of {effect_size} on {n} prompts",
            why="a paired comparison of means needs a finite effect and two prompts",
            hint="give more prompts",
        )
    shift = abs(effect_size) * math.sqrt(n)
    if n >= _NORMAL_FROM or shift > 30.0:
        return normal_power(shift)
    edge = float(special.stdtrit(n - 1, 1.0 - ALPHA / 2.0))
    found = 1.0 - special.nctdtr(n - 1, shift, edge)
    # Beyond a shift of 5 the other tail is below 4e-9, and scipy may give NaN for it.
    other = special.nctdtr(n - 1, shift, -edge) if shift < 5.0 else 0.0
    return float(min(1.0, found + other))


def normal_power(shift: float) -> float:
    """Power of a two-sided normal test.

    Args:
        shift: Mean of the test statistic: the difference over its standard error.

    Returns:
        0 to 1.
    """
    normal = NormalDist()
    z = normal.inv_cdf(1.0 - ALPHA / 2.0)
    return normal.cdf(shift - z) + normal.cdf(-shift - z)


def mean_n(effect_size: float) -> int | None:
    """Paired prompts that a comparison of means needs.

    Args:
        effect_size: Mean difference over its standard deviation (Cohen's d_z).

    Returns:
        The smallest number whose `mean_power` is enough; None where the effect is 0 or the number
        is above ten million.

    Raises:
        MetricError: If the effect is not finite.
    """
    if not math.isfinite(effect_size):
        raise MetricError(
            f"no sample size for an effect of {effect_size}",
            why="the differences have no standard deviation",
            hint="leave this comparison out of the planning",
        )
    wanted = normal_n(abs(effect_size), 1.0)
    if wanted is None:
        return None
    return crossing(lambda n: n >= 2 and mean_power(effect_size, n) >= POWER, start=wanted)


def normal_n(difference: float, deviation: float) -> int | None:
    """Prompts that a two-sided normal test needs: ((z_a + z_b) deviation / difference)^2.

    Args:
        difference: To be found, at least 0.
        deviation: Standard deviation of one prompt's difference, in the same unit.

    Returns:
        Rounded up; None where the difference is 0 or the number is above ten million.
    """
    if difference == 0.0:
        return None
    z = NormalDist().inv_cdf(1.0 - ALPHA / 2.0) + NormalDist().inv_cdf(POWER)
    wanted = (z * deviation / difference) ** 2
    return max(1, math.ceil(wanted - 1e-9)) if wanted <= MOST else None
