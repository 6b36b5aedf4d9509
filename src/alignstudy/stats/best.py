"""Which of several models is not distinguishable from the best: a step-down test of all pairs.

Every difference is measured in half widths of its own interval, so that one whose variance is
badly known doesn't set the bar for the others. The largest is held against what the largest would
be if there were no difference at all: drawn from prompts as they go together over models, and from
seeds. While that is rejected, the worse model of the most separate pair leaves.

Source: Hansen, Lunde and Nason 2011, doi:10.3982/ECTA5771, for the steps (model confidence set);
Tukey's range for the pairs; the level of the whole is simulated (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.stats.pooling import SeedPool, pooled_spread
from alignstudy.stats.power.planning import ALPHA
from alignstudy.stats.seed_tables import Table
from alignstudy.stats.spread import Spread

DRAWS = 20_000
"""Of the largest difference: an adjusted p-value near 5 % has a standard error of 0.15 %."""

_SAME = 1e-9
"""Relative; differences closer than that leave together."""


@dataclass(frozen=True)
class Separation:
    """What tells several models apart.

    Attributes:
        spreads: (one, other) -> the difference of their means, one minus other, `one` above
            `other` or equal; places of models.
        p_values: By model, of "no model is better than this one", adjusted for all of them.
        p_any: Of "all are alike": that of the first step.
        reach: How far below another a model must lie to leave at the first step: the median pair,
            in the values' unit.
    """

    spreads: Mapping[tuple[int, int], Spread]
    p_values: tuple[float, ...]
    p_any: float
    reach: float

    def spread(self, one: int, other: int) -> Spread:
        """Return the spread of one model's mean minus another's."""
        found = self.spreads.get((one, other))
        if found is not None:
            return found
        turned = self.spreads[other, one]
        return Spread(**{**vars(turned), "value": -turned.value})


def separate(
    sides: Sequence[Sequence[Table]],
    groups: Sequence[int],
    *,
    rate: bool = False,
    seed: int = 0,
    draws: int = DRAWS,
) -> Separation:
    """Find which models are not distinguishable from the best one.

    Args:
        sides: One an axis, the figure is the mean of their means: a table a model, shape (seeds,
            units), at least two models and units.
        groups: Number of the group whose trainings a model shares, seed by seed; -1 of models that
            no seed changes.
        rate: Whether values are shares that pass, 0 to 1.
        seed: Of the draws.
        draws: How many.

    Returns:
        A model belongs to the set where its p-value is 5 % or more. The one with the highest mean
        always does.
    """
    means = [float(np.mean([table.mean() for table in of])) for of in zip(*sides, strict=True)]
    # In the order of their means a model that is worse than all changes no draw of the others.
    order = sorted(range(len(means)), key=lambda at: (-means[at], at))
    pool = SeedPool.of(sides, groups)
    spreads = {
        (one, other): pooled_spread(sides, pool, one, other, rate=rate)
        for place, one in enumerate(order)
        for other in order[place + 1 :]
    }
    level = ALPHA / len(spreads)
    halves = {pair: spread.half_width(level) for pair, spread in spreads.items()}
    seen = {
        pair: abs(spread.value) / halves[pair] if halves[pair] > 0.0 else 0.0
        for pair, spread in spreads.items()
    }
    steps = list(_steps(order, spreads, seen))
    noise = _Noise.drawn(sides, pool, order, seed=seed, draws=draws)
    p_values = [0.0] * len(order)
    # The sets are nested: from the last to the first each adds its leavers to what is drawn.
    largest, inside, chances = np.zeros(draws), [*steps[-1][1]], []
    for leaving, _, most in reversed(steps):
        for new in leaving:
            for other in inside:
                pair = (new, other) if (new, other) in spreads else (other, new)
                if halves[pair] > 0.0:
                    np.maximum(largest, noise.of(*pair) / halves[pair], out=largest)
            inside.append(new)
        chances.append(float((largest >= most * (1.0 - _SAME)).mean()) if most > 0.0 else 1.0)
    running = 0.0
    for (leaving, _, _), chance in zip(steps, reversed(chances), strict=True):
        running = max(running, chance)
        for at in leaving:
            p_values[at] = running
    for at in steps[-1][1]:
        p_values[at] = 1.0
    reach = float(np.quantile(largest, 1.0 - ALPHA) * np.median([*halves.values()]))
    return Separation(spreads, tuple(p_values), p_any=chances[-1], reach=reach)


Step = tuple[list[int], list[int], float]
"""Who leaves, who stays, and the largest difference that stands against it."""


def _steps(
    order: Sequence[int],
    spreads: Mapping[tuple[int, int], Spread],
    seen: Mapping[tuple[int, int], float],
) -> Iterator[Step]:
    """Let the worse model of the most separate pair leave, until one is left, or equals are."""
    left = [*order]
    while True:
        pairs = [pair for pair in spreads if pair[0] in left and pair[1] in left]
        most = max((seen[pair] for pair in pairs), default=0.0)
        close = most * (1.0 - _SAME)
        worse = {
            pair[1] if spreads[pair].value >= 0.0 else pair[0]
            for pair in pairs
            if most > 0.0 and seen[pair] >= close
        }
        leaving = [at for at in left if at in worse]
        left = [at for at in left if at not in worse]
        yield leaving, [*left], most
        if len(left) < 2 or most == 0.0:
            return


@dataclass(frozen=True)
class _Noise:
    """Draws of what differences would be if there were none.

    Attributes:
        prompts: Of the models' means, as prompts move them together, shape (models, draws).
        within: As seeds move those of one group.
        alone: As seeds move any others.
    """

    pool: SeedPool
    prompts: NDArray[np.float64]
    within: NDArray[np.float64]
    alone: NDArray[np.float64]

    @classmethod
    def drawn(
        cls,
        sides: Sequence[Sequence[Table]],
        pool: SeedPool,
        order: Sequence[int],
        *,
        seed: int,
        draws: int,
    ) -> _Noise:
        rng = np.random.default_rng(seed)
        fewest = min(tables[0].shape[1] for tables in sides)
        scales = [
            np.sqrt(df / rng.chisquare(df, draws)) if df else np.ones(draws)
            for df in (max(1.0, fewest - 1.0), pool.df_within, pool.df_alone)
        ]
        rows = []
        for tables in sides:
            units = np.stack([tables[at].mean(axis=0) for at in order], axis=1)
            size = len(units)
            centred = units - units.mean(axis=0)
            rows.append(centred / (len(sides) * np.sqrt(size * max(1, size - 1))))
        _, root = np.linalg.qr(np.concatenate(rows))  # root' root is the covariance
        normal = rng.normal(size=(2, len(order), draws))
        place = np.argsort(order)
        by_prompts = root.T @ normal[0, : len(root)]
        by_seeds = normal[1][place]
        return cls(
            pool,
            by_prompts[place] * scales[0],
            np.sqrt(pool.within)[:, None] * by_seeds * scales[1],
            np.sqrt(pool.alone)[:, None] * by_seeds * scales[2],
        )

    def of(self, one: int, other: int) -> NDArray[np.float64]:
        """Return the size of a pair's difference, draw by draw."""
        seeds = self.within if self.pool.is_paired(one, other) else self.alone
        return np.asarray(
            np.abs(self.prompts[one] - self.prompts[other] + seeds[one] - seeds[other])
        )
