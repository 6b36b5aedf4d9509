"""A value and what its variance is made of: interval, p-values and equivalence from one rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from alignstudy.records import Estimate

METHOD = "t over prompts and seeds"


@dataclass(frozen=True, kw_only=True)
class SeedPart:
    """How far the seeds of one training lie apart.

    Attributes:
        seen: Variance of the mean over seeds, as seen between seeds.
        noise: What of it prompts explain: the mean square of seed by prompt.
        df: Degrees of freedom; 0 with one seed.
    """

    seen: float
    noise: float
    df: float


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A value, and what its variance is made of.

    Attributes:
        prompts: Variance by prompts, these trained models given.
        df_prompts: Its degrees of freedom, at least 1.
        seeds: What training seeds add; 0 with one seed.
        df_seeds: Its degrees of freedom, at least 1.
        trainings: What it is made of: one part for each that doesn't depend on another.
        units: Independent prompts that it rests on; of several axes, on the one that has fewest.
    """

    value: float
    prompts: float
    df_prompts: float
    seeds: float
    df_seeds: float
    trainings: tuple[SeedPart, ...] = ()
    units: int = 0

    def is_nominal(self, *rates: float) -> bool:
        """Whether an interval of rates (0 to 1), or of their difference, is nominal only.

        Where a rate lies under 10 or over 90 % and seeds add more than prompts, a few seeds don't
        show how far others may lie: simulated coverage falls to 81 % (docs/statistics.md).
        """
        extreme = any(rate < 0.1 or rate > 0.9 for rate in rates)
        return extreme and self.seeds > self.prompts

    def half_width(self, alpha: float = 0.05) -> float:
        """Return half of the interval that covers 1 - alpha."""
        from scipy import special

        by_prompts, by_seeds = (
            -special.stdtrit(df, alpha / 2.0) for df in (self.df_prompts, self.df_seeds)
        )
        return math.sqrt(by_prompts**2 * self.prompts + by_seeds**2 * self.seeds)

    def p_greater(self, bound: float = 0.0) -> float:
        """Return the one-sided p-value of "at most the bound": the level whose limit it is."""
        gap = self.value - bound
        if gap == 0.0:
            return 0.5
        low, high = 1e-15, 0.5
        for _ in range(60):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.half_width(2 * middle) > abs(gap) else (low, middle)
        return high if gap > 0.0 else 1.0 - high

    def p_value(self, bound: float = 0.0) -> float:
        """Return the two-sided p-value of "is the bound"."""
        one = self.p_greater(bound)
        return min(1.0, 2.0 * min(one, 1.0 - one))

    def p_equivalent(self, margin: float) -> float:
        """Return the p-value of "differs by the margin or more": two one-sided tests.

        Source: Schuirmann 1987, doi:10.1007/BF01068419.
        """
        return max(self.p_greater(-margin), 1.0 - self.p_greater(margin))

    def estimate(self, value: float, n: int, *, most: float = math.inf) -> Estimate:
        """Return a value with the interval round this one's, cut off where nothing can lie.

        Args:
            value: What is printed; the interval's centre may be drawn towards 0.
            n: Prompts that it rests on.
            most: The largest possible, and -1 times the smallest.
        """
        half = self.half_width()
        low, high = max(-most, self.value - half), min(most, self.value + half)
        return Estimate(value=value, low=min(low, value), high=max(high, value), n=n, method=METHOD)

    def in_unit(self, unit: float) -> Spread:
        """Return the same in another unit: 100 for percent."""
        square = unit * unit
        return replace(
            self,
            value=unit * self.value,
            prompts=square * self.prompts,
            seeds=square * self.seeds,
            trainings=tuple(
                replace(part, seen=square * part.seen, noise=square * part.noise)
                for part in self.trainings
            ),
        )
