"""One inference over training seeds and prompts: interval, p-value, equivalence and power agree.

A value's variance has two parts. Prompts: what another draw of prompts would change of *these*
trained models. Seeds: what training again would change. Each keeps a Student's t of its own, since
two or three seeds know their variance badly and can't borrow the prompts' degrees of freedom; with
one seed the second part is nothing, and all is the paired t-test. Values of one axis are an array
(seeds, units); a unit is a prompt, or a cluster of near-duplicates (see `seed_tables`).

Source: Satterthwaite 1946, doi:10.2307/3002019, for the degrees of freedom of a sum; Bonett and
Price 2012, doi:10.1080/00031305.2012.688415, for the differences of rates; the coverage of the
whole is simulated (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.records import Estimate
from alignstudy.stats.seed_tables import Table
from alignstudy.stats.spread import METHOD, SeedPart, Spread

RATE_METHOD = "Wilson over prompts and seeds"
TRAINED_ONCE = {METHOD: "t over prompts", RATE_METHOD: "Wilson over prompts"}


def _seed_part(sides: Sequence[Table]) -> SeedPart:
    """Return it of the mean over sides, which have the same seeds."""
    seeds = len(sides[0])
    if seeds < 2:
        return SeedPart(seen=0.0, noise=0.0, df=0.0)
    means = np.mean([side.mean(axis=1) for side in sides], axis=0)
    return SeedPart(
        seen=float(means.var(ddof=1)) / seeds,
        noise=sum(_interaction(side) / side.size for side in sides) / len(sides) ** 2,
        df=seeds - 1.0,
    )


def _interaction(values: Table) -> float:
    """Return the mean square of seed by unit."""
    seeds, units = values.shape
    if seeds < 2 or units < 2:
        return 0.0
    rest: Table = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    return float((rest**2).sum() / ((seeds - 1) * (units - 1)))


def _added(parts: Sequence[SeedPart]) -> tuple[float, float]:
    """Return what the seeds of independent trainings add, and its degrees of freedom.

    At most half of the spread that is seen is written off as the prompts' noise.
    """
    seen, noise = sum(part.seen for part in parts), sum(part.noise for part in parts)
    below = sum(part.seen**2 / part.df for part in parts if part.df > 0.0)
    return max(seen - noise, seen / 2.0), max(1.0, seen * seen / below if below > 0.0 else 1.0)


def _pooled(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return variance and degrees of freedom of a mean of independent values."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / df for variance, df in parts)
    smallest = min(df for _, df in parts)
    return total / len(parts) ** 2, total * total / below if below > 0.0 else smallest


def unit_spread(sides: Sequence[NDArray[np.float64]]) -> Spread:
    """Spread of the mean of means over prompts alone: of models that were trained once.

    Args:
        sides: One an axis: a value a unit, at least two.
    """
    prompts, df_prompts = _pooled([_by_units(side) for side in sides])
    return Spread(
        value=float(np.mean([side.mean() for side in sides])),
        prompts=prompts,
        df_prompts=df_prompts,
        seeds=0.0,
        df_seeds=1.0,
        units=min(side.size for side in sides),
    )


def _by_units(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variance of a mean over units, and its degrees of freedom."""
    units = values.size
    variance = float(values.var(ddof=1)) / units if units > 1 else 0.0
    return variance, max(1.0, units - 1.0)


def mean_spread(sides: Sequence[Table], *, rate: bool = False) -> Spread:
    """Spread of a recipe's mean, or of the mean of its axes' means.

    Args:
        sides: One an axis: shape (seeds, units), the same seeds.
        rate: Whether values are shares that pass, 0 to 1: then no axis is taken as certain.
    """
    prompts, df_prompts = _pooled([_mean_by_prompts(side, rate=rate) for side in sides])
    seeds, df_seeds = _added([_seed_part(sides)])
    return Spread(
        value=float(np.mean([side.mean() for side in sides])),
        prompts=prompts,
        df_prompts=df_prompts,
        seeds=seeds,
        df_seeds=df_seeds,
        trainings=tuple(part for part in [_seed_part(sides)] if part.df > 0.0),
        units=min(side.shape[1] for side in sides),
    )


def _mean_by_prompts(values: Table, *, rate: bool) -> tuple[float, float]:
    by_unit, units = values.mean(axis=0), values.shape[1]
    variance, df = _by_units(by_unit)
    if not rate:
        return variance, df
    share = float(by_unit.mean())
    if share in (0.0, 1.0):  # as if two more had passed and two had failed
        share = (share * units + 2.0) / (units + 4.0)
    return _few_seen(by_unit, variance, share * (1.0 - share) / units), df


def _few_seen(by_unit: NDArray[np.float64], variance: float, binomial: float) -> float:
    """Weigh the variance seen with the binomial's, where few prompts pass, or few fail."""
    fewest = int(min(np.count_nonzero(by_unit > 0.0), np.count_nonzero(by_unit < 1.0)))
    weight = min(1.0, fewest / 10.0)
    return weight * variance + (1.0 - weight) * binomial


def rate_estimate(values: Table, n: int) -> Estimate:
    """Return a rate in percent with Wilson's interval, its variance that of prompts and seeds.

    Args:
        values: Shares that pass, 0 to 1, shape (seeds, units).
        n: Prompts that it rests on.

    Returns:
        With one seed, and each prompt alone, exactly Wilson's.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    from scipy import special

    by_unit, units = values.mean(axis=0), values.shape[1]
    rate = float(values.mean())
    spread = rate * (1.0 - rate)
    z = -float(special.ndtri(0.025))
    if spread <= 0.0:
        kappa = z * z / units
    else:
        prompts = _few_seen(by_unit, float(by_unit.var()) / units, spread / units)
        added, df = _added([_seed_part([values])])
        kappa = (z * z * prompts + float(special.stdtrit(df, 0.025)) ** 2 * added) / spread
    middle = (rate + kappa / 2.0) / (1.0 + kappa)
    half = math.sqrt(kappa * spread + kappa * kappa / 4.0) / (1.0 + kappa)
    low, high = 100.0 * max(0.0, middle - half), 100.0 * min(1.0, middle + half)
    return Estimate(value=100.0 * rate, low=low, high=high, n=n, method=RATE_METHOD)


def difference_spread(
    sides: Sequence[tuple[Table, Table]], *, rate: bool = False, paired: bool = False
) -> Spread:
    """Spread of one recipe's mean minus another's, over the same prompts.

    Args:
        sides: (ours, theirs) on each axis; a recipe has the same seeds on all of them, one row
            where it was run once.
        rate: Whether values are shares that pass, 0 to 1; the value is then drawn towards 0 by half
            a prompt, by two where fewer than five differ, and never certain.
        paired: Whether both grew from one trained ancestor seed by seed; two seeds are too few for
            it to help.
    """
    values, by_prompts = [], []
    for ours, theirs in sides:
        by_unit = ours.mean(axis=0) - theirs.mean(axis=0)
        units = by_unit.size
        extra = 0.0 if not rate else 2.0 if np.count_nonzero(by_unit) < 5 else 0.5
        value = float(by_unit.sum()) / (units + extra)
        squares = float((by_unit**2).sum()) + extra - (units + extra) * value**2
        values.append(value)
        freedom = max(1.0, units + extra - 1.0)
        by_prompts.append((max(0.0, squares) / (units + extra) / freedom, max(1.0, units - 1.0)))
    prompts, df_prompts = _pooled(by_prompts)
    trainings = _trainings(sides, paired=paired)
    seeds, df_seeds = _added(trainings)
    return Spread(
        value=float(np.mean(values)),
        prompts=prompts,
        df_prompts=df_prompts,
        seeds=seeds,
        df_seeds=df_seeds,
        trainings=tuple(part for part in trainings if part.df > 0.0),
        units=min(ours.shape[1] for ours, _ in sides),
    )


def _trainings(sides: Sequence[tuple[Table, Table]], *, paired: bool) -> list[SeedPart]:
    """Return the seed parts of trainings that don't depend on each other."""
    ours, theirs = ([side[which] for side in sides] for which in (0, 1))
    if paired and len(ours[0]) == len(theirs[0]) >= 3:
        return [_seed_part([one - other for one, other in sides])]
    return [_seed_part(ours), _seed_part(theirs)]
