"""What the planning of any test stands on: levels, designs, and searches over them.

A study is planned for the smallest difference of interest, never for the one that it observed:
power at an observed difference says no more than its p-value (Hoenig and Heisey 2001,
doi:10.1198/000313001300339897).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from alignstudy.records.robustness import Power

POWER = 0.8
"""The power that a study should have, unless it says otherwise."""

ALPHA = 0.05
"""The two-sided level of a test, or of a whole family of tests."""

MOST_PROMPTS = 1_000_000
MOST_SEEDS = 100


class Design(Protocol):
    """A two-sided test of one figure, or of one difference, before the data."""

    @property
    def prompts(self) -> int:
        """Prompts (a set) that it has now."""

    @property
    def most(self) -> float:
        """A difference that is large enough to search below, in the figure's unit."""

    @property
    def has_seeds(self) -> bool:
        """Whether anything in it was trained several times."""

    def power(
        self,
        distance: float,
        *,
        alpha: float = ALPHA,
        prompts: int | None = None,
        seeds: int | None = None,
    ) -> float:
        """Return the chance, 0 to 1, that the test finds a true difference.

        Args:
            distance: The true difference, or how far it lies beyond the bound, in the figure's
                unit.
            alpha: Two-sided level.
            prompts: Of a set; None: as many as now.
            seeds: Of each training; None: as many as now.
        """


Planned = Sequence[tuple[Design, float]]
"""Tests that must all succeed, each with the true distance that it is to find."""


def joint_power(
    tests: Planned, *, alpha: float, prompts: int | None = None, seeds: int | None = None
) -> float:
    """Return the chance that all tests succeed, as if they did so independently.

    Tests of one claim share models and prompts, and so succeed together more often than that.
    """
    return math.prod(
        design.power(distance, alpha=alpha, prompts=prompts, seeds=seeds)
        for design, distance in tests
    )


def prompts_for(tests: Planned, *, alpha: float) -> int | None:
    """Return the prompts a set at which all tests succeed with 80 % power.

    None where no million is enough: with few training seeds there may be no such number.
    """

    def enough(number: int) -> bool:
        return joint_power(tests, alpha=alpha, prompts=number) >= POWER

    high = max(2, *(design.prompts for design, _ in tests))
    while not enough(high):
        if high >= MOST_PROMPTS:
            return None
        high = min(2 * high, MOST_PROMPTS)
    return least_number(enough, below=high)


def seeds_for(tests: Planned, *, alpha: float) -> int | None:
    """Return the training seeds of each recipe at which all tests succeed with 80 % power.

    None where nothing was trained several times, or a hundred are too few.
    """
    if not any(design.has_seeds for design, _ in tests):
        return None

    def enough(number: int) -> bool:
        return joint_power(tests, alpha=alpha, seeds=number) >= POWER

    return least_number(enough, below=MOST_SEEDS) if enough(MOST_SEEDS) else None


def planned(design: Design, difference: float | None, *, alpha: float) -> Power:
    """Return the power of one test for a difference of interest, and what it would take.

    Args:
        design: The test.
        difference: Of interest, above 0; None: there is none.
        alpha: Two-sided level: of the first step of the test's family.
    """
    enough = design.power(design.most, alpha=alpha) >= POWER
    found = Power(
        detectable=smallest(lambda d: design.power(d, alpha=alpha) >= POWER, most=design.most)
        if enough
        else None,
        level=alpha,
    )
    if difference is None:
        return found
    tests = [(design, difference)]
    return Power(
        detectable=found.detectable,
        level=alpha,
        difference=difference,
        power=100.0 * joint_power(tests, alpha=alpha),
        n_needed=prompts_for(tests, alpha=alpha),
        seeds_needed=seeds_for(tests, alpha=alpha),
    )


def least_number(enough: Callable[[int], bool], *, below: int) -> int:
    """Bisect for the smallest number from 2 that is enough, where `below` is."""
    low, high = 1, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def smallest(enough: Callable[[float], bool], *, most: float) -> float:
    """Bisect for the smallest value in [0, most] that is enough, to one part in ten thousand.

    Args:
        enough: False below the value and True from there on; True at `most`.
        most: Upper end of the search, above 0.
    """
    low, high = 0.0, most
    if enough(low):
        return low
    for _ in range(60):
        if high - low <= 1e-4 * high:
            break
        middle = (low + high) / 2.0
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class TwoOneSided:
    """Both one-sided tests of an equivalence, where there is no difference; see `Design`.

    Source: Julious 2004, doi:10.1002/sim.1783, on trials of equivalence.
    """

    one: Design

    @property
    def prompts(self) -> int:
        """Prompts (a set) that it has now."""
        return self.one.prompts

    @property
    def most(self) -> float:
        """A margin that is large enough to search below."""
        return self.one.most

    @property
    def has_seeds(self) -> bool:
        """Whether anything in it was trained several times."""
        return self.one.has_seeds

    def power(
        self,
        distance: float,
        *,
        alpha: float = ALPHA,
        prompts: int | None = None,
        seeds: int | None = None,
    ) -> float:
        """Return the chance, 0 to 1, that both tests reject at a margin; `alpha` is of each."""
        each = self.one.power(distance, alpha=2.0 * alpha, prompts=prompts, seeds=seeds)
        return max(0.0, 2.0 * each - 1.0)
