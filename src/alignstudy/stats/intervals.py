"""Intervals of one rate and of the difference of two paired rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from alignstudy.errors import MetricError
from alignstudy.records import Estimate

LEVEL = 0.95
"""Coverage of intervals."""


def normal_quantile(level: float) -> float:
    """Return z such that a standard normal lies within +-z with probability `level`.

    Raises:
        MetricError: If `level` is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise MetricError(
            f"an interval's level lies between 0 and 1, not {level}", hint="give 0.95 for 95 %"
        )
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def wilson(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """Wilson's score interval of a rate, in percent.

    Valid at 0 and 100 % too: 0 of 50 gives [0, 7.1].

    Args:
        successes: 0 to n.
        n: Number of independent prompts, at least 1.
        level: Coverage.

    Raises:
        MetricError: If the counts are impossible.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if n < 1 or not 0 <= successes <= n:
        raise MetricError(
            f"a rate is not defined for {successes} successes of {n}",
            why="successes are 0 to n of at least one prompt",
            hint="leave the rate out where there are no prompts",
        )
    low, high = wilson_ends(successes / n, n, level)
    return Estimate(
        value=100.0 * successes / n, low=low, high=high, n=n, method="wilson", level=level
    )


def wilson_ends(rate: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of Wilson's interval in percent, of a rate from 0 to 1 on n observations."""
    z = normal_quantile(level)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if rate == 0.0 else 100.0 * (middle - half)
    return low, 100.0 if rate == 1.0 else 100.0 * (middle + half)


def check_paired(wins: int, losses: int, n: int) -> None:
    """Refuse counts that can't be those of n paired prompts.

    Raises:
        MetricError: Naming them.
    """
    if n < 1 or min(wins, losses) < 0 or wins + losses > n:
        raise MetricError(
            f"impossible paired counts: {wins} wins, {losses} losses of {n}",
            why="wins and losses are disjoint parts of at least one paired prompt",
            hint="count each prompt once, and leave the comparison out where none is shared",
        )


def tango(wins: int, losses: int, n: int, level: float = LEVEL) -> Estimate:
    """Tango's score interval of the difference of two paired rates, in percentage points.

    Args:
        wins: Prompts on which only the model succeeds.
        losses: Prompts on which only the reference succeeds.
        n: All paired prompts, those on which both agree included.
        level: Coverage.

    Returns:
        The difference model minus reference, -100 to 100.

    Raises:
        MetricError: If the counts are impossible.

    Source: Tango 1998, Statistics in Medicine 17, 891-908.
    """
    check_paired(wins, losses, n)
    z = normal_quantile(level)
    difference = (wins - losses) / n
    low = _root(lambda delta: tango_score(wins, losses, n, delta) - z, -1.0, difference)
    high = _root(lambda delta: tango_score(wins, losses, n, delta) + z, difference, 1.0)
    return Estimate(
        value=100.0 * (wins - losses) / n,
        low=100.0 * low,
        high=100.0 * high,
        n=n,
        method="tango",
        level=level,
    )


def tango_score(wins: int, losses: int, n: int, delta: float) -> float:
    """Tango's score statistic at a supposed difference of two paired rates.

    Args:
        wins: Prompts on which only the model succeeds.
        losses: Prompts on which only the reference succeeds.
        n: All paired prompts.
        delta: Supposed difference, model minus reference, -1 to 1.

    Returns:
        A standard normal deviate if the difference is `delta`; falls as `delta` rises.

    Source: Tango 1998, Statistics in Medicine 17, 891-908.
    """
    a = 2.0 * n
    b = -wins - losses + (2.0 * n - wins + losses) * delta
    c = -losses * delta * (1.0 - delta)
    share = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    variance = n * (2.0 * share + delta * (1.0 - delta))
    distance = wins - losses - n * delta
    if variance <= 0.0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Find where a falling function crosses zero; the end that it doesn't reach otherwise."""
    if function(low) <= 0.0:
        return low
    if function(high) >= 0.0:
        return high
    for _ in range(80):
        middle = (low + high) / 2.0
        if function(middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def mover_mean(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent quantities, its interval made from their intervals.

    For rates of 0 or 100 %, which a bootstrap would give an interval of no width.

    Args:
        parts: Each with an interval that is right by itself (Wilson, Tango), on prompts of its
            own, in one unit and with one level.

    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures: a
        general approach", Statistics in Medicine 27, eq. 3 (MOVER).
    """
    first, size = parts[0], len(parts)
    value = sum(part.value for part in parts) / size
    below = math.hypot(*(part.value - part.low for part in parts)) / size
    above = math.hypot(*(part.high - part.value for part in parts)) / size
    return Estimate(
        value=value,
        low=value - below,
        high=value + above,
        n=sum(part.n for part in parts),
        method=f"{first.method}, MOVER",
        level=first.level,
    )
