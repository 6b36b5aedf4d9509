"""What the planning of any comparison stands on: levels, and searches over a design."""

from __future__ import annotations

from collections.abc import Callable

POWER = 0.8
"""The power that a study should have, unless it says otherwise."""

ALPHA = 0.05
"""The two-sided level of a test."""

MOST = 10_000_000
"""A study of more prompts than this is not worth naming."""


def crossing(enough: Callable[[int], bool], *, start: int) -> int:
    """Find an n that is enough while n - 1 is not, near `start`."""
    low, high = start, start
    while low > 1 and enough(low):
        low = max(1, low - max(1, low // 8))
    while not enough(high):
        high += max(1, high // 8)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low if enough(low) else high


def smallest(enough: Callable[[float], bool], *, most: float) -> float:
    """Bisect for the smallest value in [0, most] that is enough, to one part in a million.

    Args:
        enough: False below the value and True from there on; True at `most`.
        most: Upper end of the search, above 0.
    """
    low, high = 0.0, most
    if enough(low):
        return low
    for _ in range(60):
        if high - low <= 1e-6 * high:
            break
        middle = (low + high) / 2.0
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
