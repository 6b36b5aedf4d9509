"""What training seeds add to differences between many models: one variance from all of them.

Two to five seeds know one model's variance badly. Several models together know theirs well, if it
is the same; a model whose seeds lie further apart than the others' keeps its own (`SeedPool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from alignstudy.stats.seed_tables import Table
from alignstudy.stats.seeds import difference_spread
from alignstudy.stats.spread import Spread

_ENOUGH = 4.0
"""Degrees of freedom from which on a group's seeds are paired: fewer cost more than they gain."""


@dataclass(frozen=True)
class SeedPool:
    """What seeds add to each model's mean, squared unit of the values.

    A model's part is its own spread between seeds or that of all, whichever is larger: where one
    model's seeds vary more than the others', the pooled figure is too small for it. The prompts'
    noise in what is seen isn't taken off. Two models of one group (that grew from one training,
    seed by seed) differ by `within`, any two others by `alone`.

    Attributes:
        groups: Number of each model's group; -1: no seed changes it, it adds nothing.
        within: By model, without what a group's members share under a seed.
        df_within: Degrees of freedom of the pooled figure; 0: groups are too small for pairing.
        alone: By model, all that seeds change.
        df_alone: Its degrees of freedom, at least 1 (Satterthwaite 1946, doi:10.2307/3002019).
    """

    groups: NDArray[np.int64]
    within: NDArray[np.float64]
    df_within: float
    alone: NDArray[np.float64]
    df_alone: float

    @classmethod
    def of(cls, sides: Sequence[Sequence[Table]], groups: Sequence[int]) -> SeedPool:
        """Pool the spread between seeds.

        Args:
            sides: One an axis: a table a model, shape (seeds, units); a model has the same seeds on
                all axes.
            groups: Number of each model's group, whose members have the same seeds; -1 of models
                that no seed changes.
        """
        # A seed's value of a model is the mean over the axes: seeds may move axes together.
        means = [
            np.mean([table.mean(axis=1) for table in tables], axis=0)
            for tables in zip(*sides, strict=True)
        ]
        own = np.array([float(each.var(ddof=1)) if each.size > 1 else 0.0 for each in means])
        moved = np.array([float(np.ptp(each)) > 0.0 for each in means])
        found = np.where(moved, np.asarray(groups, dtype=np.int64), -1)
        trained = found >= 0
        rest, within, df_within = np.zeros(len(means)), 0.0, 0.0
        shared: dict[int, tuple[float, float]] = {}  # by size of group: of one size they are pooled
        groups_found = 0
        for members in _members(found):
            table, size = np.stack([means[at] for at in members]), len(members)
            df = table.shape[1] - 1.0
            apart = table - table.mean(axis=1, keepdims=True)
            common = apart.mean(axis=0)
            squares = ((apart - common) ** 2).sum(axis=1) / df
            rest[members] = squares * size / max(1, size - 1)
            within, df_within = within + float(squares.sum()), df_within + (size - 1) * df
            part, before = shared.get(size, (0.0, 0.0))
            shared[size] = part + size * float((common**2).sum()) / df, before + df
            groups_found += 1
        pooled, _ = _mean_of([(within, df_within)], int(trained.sum()) - groups_found)
        whole, df_alone = _mean_of([*shared.values(), (within, df_within)], int(trained.sum()))
        seeds = np.array([each.size for each in means])
        return cls(
            groups=found,
            within=np.where(trained, np.maximum(rest, pooled), 0.0) / seeds,
            df_within=df_within if df_within >= _ENOUGH else 0.0,
            alone=np.where(trained, np.maximum(own, whole), 0.0) / seeds,
            df_alone=df_alone,
        )

    def is_paired(self, one: int, other: int) -> bool:
        """Whether two models' seeds are compared seed by seed."""
        return bool(self.df_within and self.groups[one] == self.groups[other] >= 0)

    def added(self, one: int, other: int) -> tuple[float, float]:
        """Return what seeds add to a difference, and its degrees of freedom."""
        paired = self.is_paired(one, other)
        parts, df = (self.within, self.df_within) if paired else (self.alone, self.df_alone)
        return float(parts[one] + parts[other]), df


def _mean_of(parts: Sequence[tuple[float, float]], number: int) -> tuple[float, float]:
    """Return a sum of independent variances over a number, and its degrees of freedom."""
    total = sum(part for part, _ in parts)
    below = sum(part**2 / df for part, df in parts if df)
    return total / max(1, number), max(1.0, total * total / below) if below else 1.0


def _members(groups: NDArray[np.int64]) -> list[list[int]]:
    """Return the places of each group's members."""
    order = sorted((int(group), at) for at, group in enumerate(groups) if group >= 0)
    return [[at for _, at in found] for _, found in groupby(order, key=lambda pair: pair[0])]


def pooled_spread(
    sides: Sequence[Sequence[Table]], pool: SeedPool, one: int, other: int, *, rate: bool
) -> Spread:
    """Spread of one model's mean minus another's, its seed part that of the pool.

    Args:
        sides: As `SeedPool.of` has them.
        pool: Of all models.
        one: Place of the first.
        other: Place of the second.
        rate: Whether values are shares that pass, 0 to 1.
    """
    found = difference_spread([(tables[one], tables[other]) for tables in sides], rate=rate)
    seeds, df = pool.added(one, other)
    return replace(found, seeds=seeds, df_seeds=df, trainings=())
