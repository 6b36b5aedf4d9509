"""Power of a comparison whose seed variance is pooled over many trainings (`stats.pooling`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alignstudy.stats.power.planning import ALPHA
from alignstudy.stats.power.spread_design import chi2_shares


@dataclass(frozen=True, kw_only=True)
class PooledDesign:
    """A difference of two recipes among many; see `Design`. Variances are in its unit, squared.

    Attributes:
        units: Prompts that it has now: of several axes, on the one that has fewest.
        seeds: Of each training now, at least 2.
        prompt: What a prompt adds, the trainings' chance in it left out, over `units` prompts.
        chance: What a prompt adds by the chance of one training, over `units` prompts.
        seed: Variance between seeds of a training.
        trainings: How many of the two recipes are trained: 1 or 2.
        pool: Trained recipes whose variance is pooled.
    """

    units: int
    seeds: int
    prompt: float
    chance: float
    seed: float
    trainings: int
    pool: int

    @property
    def prompts(self) -> int:
        """Prompts (a set) that it has now."""
        return self.units

    @property
    def most(self) -> float:
        """A difference that is large enough to search below."""
        return 100.0 * math.sqrt(self.prompt + self.chance + self.seed)

    @property
    def has_seeds(self) -> bool:
        """Whether anything in it was trained several times."""
        return True

    def power(
        self,
        distance: float,
        *,
        alpha: float = ALPHA,
        prompts: int | None = None,
        seeds: int | None = None,
    ) -> float:
        """Return the chance, 0 to 1, that the test finds a true difference.

        A training's part is its own spread or the pooled one, whichever is larger: averaged over
        what both may show.
        """
        from scipy import special

        units, number = prompts or self.units, seeds or self.seeds
        share = self.units / units
        by_prompts = share * (self.prompt + self.trainings * self.chance / number)
        seen = self.seed + share * self.chance
        own, pooled = (chi2_shares(df) for df in (number - 1.0, self.pool * (number - 1.0)))
        parts = np.maximum.outer(pooled, own)
        whole = parts if self.trainings == 1 else parts[:, :, None] + parts[:, None, :]
        t_prompts = float(special.stdtrit(max(1, units - 1), alpha / 2.0))
        t_seeds = float(special.stdtrit(self.pool * (number - 1.0), alpha / 2.0))
        half = np.sqrt(t_prompts**2 * by_prompts + t_seeds**2 * seen * whole / number)
        error = math.sqrt(by_prompts + self.trainings * self.seed / number)
        size = abs(distance)
        found = special.ndtr((size - half) / error) + special.ndtr((-size - half) / error)
        return float(np.mean(found))
