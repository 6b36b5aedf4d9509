"""Correction for testing many hypotheses at once."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.errors import MetricError


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given.

    Args:
        p_values: One p-value a hypothesis of the family, each 0 to 1.

    Raises:
        MetricError: If one of them is not a probability.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not 0.0 <= p_values[index] <= 1.0:
            raise MetricError(
                f"p-value {index + 1} is {p_values[index]}, not a probability",
                why="the family may hold tests that were made, and no others",
                hint="leave comparisons without a test out of the family",
            )
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
