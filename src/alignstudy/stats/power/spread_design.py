"""Power of a test of means or of rates' differences: more prompts, or more training seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alignstudy.stats.power.mean_design import mean_power
from alignstudy.stats.power.planning import ALPHA, MOST_SEEDS
from alignstudy.stats.spread import Spread

_POINTS = 20
"""Quantiles of what each training's seeds may show, over which power is averaged."""


@dataclass(frozen=True)
class SpreadDesign:
    """What a variance comes to at other sizes; see `Design`.

    Attributes:
        spread: Of the figure or difference, as it was seen, in the figure's unit.
        prompts_per_unit: Above 1 where near-duplicates are one unit.
        num_rates: Of how many axes' rates it is a mean, in percent; 0: it is of scores.
    """

    spread: Spread
    prompts_per_unit: float = 1.0
    num_rates: int = 0

    @property
    def prompts(self) -> int:
        """Prompts (a set) that it has now."""
        return math.ceil(self.spread.units * self.prompts_per_unit)

    @property
    def has_seeds(self) -> bool:
        """Whether anything in it was trained several times."""
        return bool(self.spread.trainings)

    @property
    def most(self) -> float:
        """A difference that is large enough to search below."""
        if self.num_rates:
            return 100.0
        return 100.0 * math.sqrt(self.spread.prompts + self.spread.seeds) or 1.0

    def power(
        self,
        distance: float,
        *,
        alpha: float = ALPHA,
        prompts: int | None = None,
        seeds: int | None = None,
    ) -> float:
        """Return the chance, 0 to 1, that the test finds a true difference."""
        from scipy import special

        size = abs(distance)
        units = self.spread.units
        if prompts is not None:
            units = max(2, round(prompts / self.prompts_per_unit))
        by_prompts = self._by_prompts(size)
        if not self.has_seeds:
            if by_prompts == 0.0:
                return 1.0 if size else 0.0
            deviation = math.sqrt(by_prompts * self.spread.units)
            return mean_power(size / deviation, units, alpha=alpha)
        half, error = self._reach(by_prompts, units, seeds, alpha)
        if error == 0.0:
            return 1.0 if size else 0.0
        found = special.ndtr((size - half) / error) + special.ndtr((-size - half) / error)
        return float(np.mean(found))

    def _by_prompts(self, size: float) -> float:
        """Return the variance that prompts give now, at least what rates so far apart have.

        Where a difference of rates is d, at least a share d of the prompts differs, so that one
        prompt's difference has a variance of d - d^2 or more.
        """
        if not self.num_rates:
            return self.spread.prompts
        share = min(1.0, size / 100.0)
        least = 1e4 * (share - share * share) / (self.spread.units * self.num_rates)
        return max(self.spread.prompts, least)

    def _reach(
        self, by_prompts: float, units: int, seeds: int | None, alpha: float
    ) -> tuple[NDArray[np.float64], float]:
        """Return half of the interval's width for what seeds may show, and the standard error."""
        from scipy import special

        share = self.spread.units / units
        trainings = self.spread.trainings
        own = sum(training.noise for training in trainings)
        prompts, noise, truth = max(0.0, by_prompts - own), 0.0, 0.0
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
            drawn = (added + own_noise * share) * chi2_shares(number - 1).reshape(shape)
            below = below + drawn**2 / (number - 1)
            seen = seen + drawn
        of_prompts = share * prompts
        spread = np.maximum(seen - noise, seen / 2.0)
        squares = np.square(seen)
        df = np.divide(squares, below, out=np.ones_like(squares), where=below > 0.0)
        t_seeds = special.stdtrit(np.maximum(1.0, df), alpha / 2.0)
        t_prompts = float(special.stdtrit(max(1, units - 1), alpha / 2.0))
        half = np.sqrt(t_prompts**2 * of_prompts + t_seeds**2 * spread)
        return np.asarray(half), math.sqrt(of_prompts + truth)


@lru_cache(MOST_SEEDS)
def chi2_shares(df: float) -> NDArray[np.float64]:
    """Return what a variance estimate is of its truth, at evenly spaced quantiles."""
    from scipy import special

    quantiles = (np.arange(_POINTS) + 0.5) / _POINTS
    return np.asarray(special.chdtri(df, 1.0 - quantiles) / df)
