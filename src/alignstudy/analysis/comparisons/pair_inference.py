"""What is inferred of one pair of models: over prompts alone, or over training seeds too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_intervals import difference_estimates
from alignstudy.analysis.comparisons.pair_table import PairTable
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.records import Estimate
from alignstudy.stats.equivalence import tost_rates
from alignstudy.stats.intervals import tango_score
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.power.mcnemar_design import RateDesign
from alignstudy.stats.power.planning import Design
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.resampling.bca import NO_SPREAD
from alignstudy.stats.seeds import TRAINED_ONCE, unit_spread
from alignstudy.stats.spread import METHOD, Spread

MCNEMAR = "exact McNemar"
SIGN_FLIP = "sign-flip permutation"
CLUSTERED = "sign-flip permutation over clusters"


class PairDifferences:
    """The differences of one pair in one metric.

    Attributes:
        table: Where they are from; `index` is the pair's place there.
        rows: Differences by prompt set, without the prompts that the pair lacks.
        units: Independent differences by prompt set: one a prompt, or one a cluster. A cluster's is
            the mean of all plus its summed residuals over the mean cluster size, which keeps the
            mean and has the variance of a ratio of sums.
        is_clustered: Whether any two prompts are near-duplicates.
        wins: Prompts on which the model did better.
        losses: Prompts on which the reference did better.
        n: Paired prompts.
    """

    def __init__(self, table: PairTable, index: int) -> None:
        self.table, self.index = table, index
        self.rows: list[NDArray[np.float64]] = []
        self.units: list[NDArray[np.float64]] = []
        self.is_clustered = False
        for side in table.sides:
            there = ~np.isnan(side.differences[index])
            row = side.differences[index][there]
            self.rows.append(row)
            names, number = np.unique(side.panel.cluster_of[there], return_inverse=True)
            if len(names) == row.size:
                self.units.append(row)
                continue
            self.is_clustered = True
            sums = np.bincount(number, weights=row - row.mean())
            self.units.append(np.asarray(row.mean() + sums * len(sums) / row.size))
        self.wins = sum(int((row > 0).sum()) for row in self.rows)
        self.losses = sum(int((row < 0).sum()) for row in self.rows)
        self.n = sum(row.size for row in self.rows)

    @cached_property
    def spread(self) -> Spread | None:
        """Of the difference over prompts, and seeds where there are several; None: none is known.

        Differences that are all alike tell nothing of their spread, unless they are all 0 over
        several seeds, or of shares.
        """
        if not self.table.several_seeds and not self.table.has_shares:
            sizes = [units.size for units in self.units]
            found = unit_spread(self.units) if min(sizes) > 1 else None
            return found if found is not None and found.prompts > 0.0 else None
        found = self.table.spread(self.index)
        varies = found is not None and (found.half_width() > 0.0 or found.value == 0.0)
        return found if varies else None

    @cached_property
    def is_nominal(self) -> bool:
        """Whether nothing can be tested of rates whose seeds lie far apart near 0 or 100 %."""
        if not self.table.metric.is_rate or not self.table.several_seeds or self.spread is None:
            return False
        rates = [
            float(np.nanmean(side.by_seed[side.panel.row(name)])) / 100.0
            for side in self.table.sides
            for name in self.table.pairs[self.index]
        ]
        return self.spread.is_nominal(*rates)

    @property
    def smallest(self) -> int:
        """Paired prompts on the axis that has fewest; over seeds, units that every seed has."""
        if self.table.several_seeds and self.spread is not None:
            return self.spread.units
        return min(row.size for row in self.rows)

    @property
    def num_clusters(self) -> int:
        """Independent clusters of paired prompts."""
        return sum(part.size for part in self.units)


def is_counted(table: PairTable) -> bool:
    """Whether a table is of rates of one seed and sample on prompts that are all independent."""
    plain = not table.has_shares and table.clusters is None
    return table.metric.is_rate and len(table.sides) == 1 and plain


Shown = tuple[Estimate, float | None, str]
"""A difference with its interval, its p-value (None: nothing can be inferred), and the test."""


def over_prompts(
    table: PairTable, pairs: Sequence[PairDifferences], resampler: Resampler
) -> list[Shown]:
    """Infer from the draw of prompts alone: models that were trained once."""
    if is_counted(table):
        p_values = [mcnemar_exact(pair.wins, pair.losses) for pair in pairs]
    else:
        # The mean over prompt sets of the mean difference within each.
        weighted = []
        for side in table.sides:
            size = (~np.isnan(side.differences)).sum(axis=1)
            weighted.append(np.nan_to_num(side.differences) / (len(table.sides) * size[:, None]))
        p_values = resampler.sign_flip(np.concatenate(weighted, axis=1), table.clusters)
    tests = [
        MCNEMAR if is_counted(table) else CLUSTERED if pair.is_clustered else SIGN_FLIP
        for pair in pairs
    ]
    estimates = (
        [replace(_by_spread(pair), method=TRAINED_ONCE[METHOD]) for pair in pairs]
        if table.has_shares
        else difference_estimates(table, resampler)
    )
    return list(zip(estimates, p_values, tests, strict=True))


def over_seeds(pairs: Sequence[PairDifferences]) -> list[Shown]:
    """Infer from the draw of prompts and of training seeds, by one model of the variance."""
    return [
        (_by_spread(pair), None, "none")
        if pair.spread is None
        else (_by_spread(pair), pair.spread.p_value(), METHOD)
        for pair in pairs
    ]


def _by_spread(pair: PairDifferences) -> Estimate:
    """Return a difference with the interval of its spread."""
    value = float(np.mean([row.mean() for row in pair.rows]))
    if pair.spread is None:
        return Estimate(value=value, low=value, high=value, n=pair.n, method=NO_SPREAD)
    most = 100.0 if pair.table.metric.is_rate else math.inf
    return pair.spread.estimate(value, pair.n, most=most)


def design_of(pair: PairDifferences, *, bound: float = 0.0) -> Design | None:
    """Return what a pair's test can find of a difference beyond a bound; None: no spread is known.

    Prompts count prompts, not clusters.
    """
    if is_counted(pair.table) and bound == 0.0:
        return RateDesign((pair.wins + pair.losses) / pair.n, pair.n)
    spread = pair.spread
    if spread is None:
        return None
    num_rates = len(pair.rows) if pair.table.metric.is_rate else 0
    return SpreadDesign(spread, pair.n / pair.num_clusters, num_rates)


def p_above(pair: PairDifferences, bound: float) -> float | None:
    """Test one-sided that a difference is at most a bound that isn't 0; None: no spread is known.

    Source: Tango 1998, Statistics in Medicine 17, 891-908, for rates of one seed; else Student's t.
    """
    if is_counted(pair.table):
        z = tango_score(pair.wins, pair.losses, pair.n, bound / 100.0)
        return NormalDist().cdf(-z)
    return None if pair.spread is None else pair.spread.p_greater(bound)


def equivalence(pair: PairDifferences, margin: float) -> float | None:
    """Test by TOST that the models are within the margin; None where the spread is not known."""
    if is_counted(pair.table):
        return tost_rates(pair.wins, pair.losses, pair.n, margin)
    return None if pair.spread is None else pair.spread.p_equivalent(margin)
