"""The paired t-test before the data: its power."""

from __future__ import annotations

import math
from statistics import NormalDist

from alignstudy.errors import MetricError
from alignstudy.stats.power.planning import ALPHA

_NORMAL_FROM = 2_000
"""From so many prompts on, Student's t and the normal differ by less than 0.1 points of power."""


def mean_power(effect_size: float, n: int, *, alpha: float = ALPHA) -> float:
    """Power of the paired t-test, near which the sign-flip test's lies.

    Args:
        effect_size: Mean difference over its standard deviation (Cohen's d_z).
        n: Paired prompts, at least 2.
        alpha: Two-sided level.

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
        normal = NormalDist()
        z = normal.inv_cdf(1.0 - alpha / 2.0)
        return normal.cdf(shift - z) + normal.cdf(-shift - z)
    edge = float(special.stdtrit(n - 1, 1.0 - alpha / 2.0))
    found = 1.0 - special.nctdtr(n - 1, shift, edge)
    # Beyond a shift of 5 the other tail is below 4e-9, and scipy may give NaN for it.
    other = special.nctdtr(n - 1, shift, -edge) if shift < 5.0 else 0.0
    return float(min(1.0, found + other))
