"""Power of a comparison of models that were trained several times: more prompts, or more seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from alignstudy.records.robustness import Power
from alignstudy.stats.power.planning import ALPHA, POWER, crossing, smallest
from alignstudy.stats.seeds import Spread

MOST_SEEDS = 100
MOST_PROMPTS = 1_000_000
_POINTS = 40
"""Quantiles of what each training's seeds may show, over which power is averaged."""


@dataclass(frozen=True)
class SeedDesign:
    """What a comparison's variance comes to at other sizes.

    Attributes:
        spread: Of the difference, as it was seen.
    """

    spread: Spread

    def power(self, difference: float, *, units: int, seeds: int | None = None) -> float:
        """Return the chance, 0 to 1, that the two-sided test at 5 % finds a difference.

        Args:
            difference: The true one, in the unit that the variances are the square of.
            units: Independent prompts.
            seeds: Of each training; None: as many as now.
        """
        from scipy import special

        half, error = self._reach(units, seeds)
        if error == 0.0:
            return 1.0 if difference else 0.0
        size = abs(difference)
        found = special.ndtr((size - half) / error) + special.ndtr((-size - half) / error)
        return float(np.mean(found))

    def _reach(self, units: int, seeds: int | None) -> tuple[NDArray[np.float64], float]:
        """Return half of the interval's width for what seeds may show, and the standard error."""
        from scipy import special

        share = self.spread.units / units
        trainings = self.spread.trainings
        own = sum(training.noise for training in trainings)
        prompts, noise, truth = max(0.0, self.spread.prompts - own), 0.0, 0.0
        seen: NDArray[np.float64] = np.zeros([1] * len(trainings))
        below = seen
        for at, training in enumerate(trainings):
            now = training.df + 1.0
            number = seeds or now
            own_noise = training.noise * now / number
            added = max(0.0, training.seen - training.noise) * now / number
            prompts, truth, noise = prompts + own_noise, truth + added, noise + own_noise * share
            shape = [1] * len(trainings)
            shape[at] = -1
            drawn = (added + own_noise * share) * _chi2(number - 1).reshape(shape)
            below = below + drawn**2 / (number - 1)
            seen = seen + drawn
        by_prompts = share * prompts
        spread = np.maximum(seen - noise, seen / 2.0)
        squares = np.square(seen)
        df = np.divide(squares, below, out=np.ones_like(squares), where=below > 0.0)
        t_seeds = special.stdtrit(np.maximum(1.0, df), ALPHA / 2.0)
        t_prompts = float(special.stdtrit(max(1, units - 1), ALPHA / 2.0))
        half = np.sqrt(t_prompts**2 * by_prompts + t_seeds**2 * spread)
        return np.asarray(half), math.sqrt(by_prompts + truth)

    def planned(self) -> Power:
        """Return the power at the difference that was seen, and what more would take."""
        difference = self.spread.value
        now = self.power(difference, units=self.spread.units)
        return Power(
            power=100.0 * now,
            detectable=self._detectable,
            n_needed=self._prompts_for(difference),
            seeds_needed=self._seeds_for(difference),
        )

    @cached_property
    def _detectable(self) -> float | None:
        half, error = self._reach(self.spread.units, None)
        if error == 0.0:
            return None
        most = float(np.max(half)) + 10.0 * error
        return smallest(lambda size: self.power(size, units=self.spread.units) >= POWER, most=most)

    def _prompts_for(self, difference: float) -> int | None:
        if self.power(difference, units=MOST_PROMPTS) < POWER:
            return None
        return crossing(
            lambda n: n >= 2 and self.power(difference, units=n) >= POWER, start=self.spread.units
        )

    def _seeds_for(self, difference: float) -> int | None:
        numbers = range(2, MOST_SEEDS + 1)
        enough = (
            number
            for number in numbers
            if self.power(difference, units=self.spread.units, seeds=number) >= POWER
        )
        return next(enough, None)


@lru_cache(MOST_SEEDS)
def _chi2(df: float) -> NDArray[np.float64]:
    """Return what a variance estimate is of its truth, at evenly spaced quantiles."""
    from scipy import special

    quantiles = (np.arange(_POINTS) + 0.5) / _POINTS
    return np.asarray(special.chdtri(df, 1.0 - quantiles) / df)
