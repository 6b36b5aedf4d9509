"""The tests of a table of pairs, and what stands beside each: power, equivalence, effect size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_intervals import difference_estimates
from alignstudy.analysis.comparisons.pair_table import PairTable
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.results import Comparison
from alignstudy.metrics.rates import WIN_RATE
from alignstudy.records import Estimate
from alignstudy.stats.effect import cohens_dz, sign_test, win_rate_interval
from alignstudy.stats.equivalence import tost_mean, tost_rates
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.power.power import Power, mean_power_of, rate_power, stratified_power
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

MIN_PROMPTS = 10
"""Below so many paired prompts no test is made."""

MCNEMAR = "exact McNemar"
SIGN_FLIP = "sign-flip permutation"
CLUSTERED = "sign-flip permutation over clusters"


class PairDifferences:
    """The differences of one pair in one metric.

    Attributes:
        rows: Differences by prompt set, without the prompts that the pair lacks.
        clusters: Cluster numbers of the same prompts; None where every prompt is alone.
        counted: Whether differences are wins, losses and ties of one seed, prompt by prompt.
        metric: What they are differences of.
    """

    def __init__(self, table: PairTable, index: int) -> None:
        self.rows: list[NDArray[np.float64]] = []
        self.clusters: list[NDArray[np.int64] | None] = []
        for side in table.sides:
            there = ~np.isnan(side.differences[index])
            self.rows.append(side.differences[index][there])
            numbers = side.panel.cluster_of[there]
            alone = len(np.unique(numbers)) == len(numbers)
            self.clusters.append(None if alone else numbers)
        self.counted = is_counted(table)
        self.metric = table.metric

    @property
    def sizes(self) -> list[int]:
        """Paired prompts by prompt set."""
        return [row.size for row in self.rows]

    @property
    def num_clusters(self) -> int:
        """Independent clusters of paired prompts."""
        return sum(len(units) for units in self.units())

    @property
    def clustered(self) -> bool:
        """Whether any two prompts are near-duplicates."""
        return any(numbers is not None for numbers in self.clusters)

    def wins(self) -> int:
        """Prompts on which the model did better."""
        return sum(int((row > 0).sum()) for row in self.rows)

    def losses(self) -> int:
        """Prompts on which the reference did better."""
        return sum(int((row < 0).sum()) for row in self.rows)

    def units(self) -> list[NDArray[np.float64]]:
        """Independent differences by prompt set: one a prompt, or one a cluster.

        A cluster's is the mean of all plus its summed residuals over the mean cluster size, which
        keeps the mean and has the variance of a ratio of sums.
        """
        return [_units(*part) for part in zip(self.rows, self.clusters, strict=True)]


def _units(row: NDArray[np.float64], clusters: NDArray[np.int64] | None) -> NDArray[np.float64]:
    if clusters is None:
        return row
    _, number = np.unique(clusters, return_inverse=True)
    sums = np.bincount(number, weights=row - row.mean())
    return np.asarray(row.mean() + sums * len(sums) / row.size)


def is_counted(table: PairTable) -> bool:
    """Return whether a table is of rates of one seed on prompts that are all independent."""
    plain = (side.by_seed.shape[1] == 1 and side.panel.clusters is None for side in table.sides)
    return table.metric.is_rate and len(table.sides) == 1 and all(plain)


def compared(table: PairTable, *, margin: float | None, resampler: Resampler) -> list[Comparison]:
    """Compare every pair of a table; p-values are not adjusted yet.

    Args:
        table: Differences of every pair.
        margin: Of equivalence, in the metric's unit; None for no such test.
        resampler: Draws prompts, seeds and signs.
    """
    pairs = [PairDifferences(table, index) for index in range(len(table.pairs))]
    if is_counted(table):
        p_values = [mcnemar_exact(pair.wins(), pair.losses()) for pair in pairs]
    else:
        p_values = sign_flip_p_values(table, resampler)
    estimates = difference_estimates(table, resampler)
    wins = _win_intervals(table, pairs, resampler)
    return [
        _comparison(table, index, pair, estimates[index], p_values[index], wins[index], margin)
        for index, pair in enumerate(pairs)
    ]


def sign_flip_p_values(table: PairTable, resampler: Resampler) -> list[float]:
    """Test the mean over prompt sets of the mean difference within each, by sign flips."""
    weighted, clusters, offset = [], [], 0
    for side in table.sides:
        size = (~np.isnan(side.differences)).sum(axis=1)
        weighted.append(np.nan_to_num(side.differences) / (len(table.sides) * size[:, None]))
        clusters.append(side.panel.cluster_of + offset)
        offset = int(clusters[-1].max()) + 1
    return resampler.sign_flip(
        np.concatenate(weighted, axis=1),
        None if all(s.panel.clusters is None for s in table.sides) else np.concatenate(clusters),
    )


def _win_intervals(
    table: PairTable, pairs: Sequence[PairDifferences], resampler: Resampler
) -> list[Estimate]:
    """Return win rates; where prompts are clustered, their intervals resample clusters."""
    exact = [
        replace(
            win_rate_interval(
                pair.wins(), pair.losses(), sum(pair.sizes) - pair.wins() - pair.losses()
            ),
            value=WIN_RATE.of(np.concatenate(pair.rows)),
        )
        for pair in pairs
    ]
    if not any(pair.clustered for pair in pairs):
        return exact
    signs = np.concatenate([np.sign(side.differences) for side in table.sides], axis=1)
    numbers, offset = [], 0
    for side in table.sides:
        numbers.append(side.panel.cluster_of + offset)
        offset = int(numbers[-1].max()) + 1
    means = bootstrap_means(
        50.0 * (1.0 + signs),
        draws=resampler.draws,
        rng=resampler.rng,
        clusters=np.concatenate(numbers),
    )
    return [
        estimate
        if np.ptp(means[:, index]) == 0.0
        else percentile_estimate(
            estimate.value, means[:, index], n=estimate.n, method="cluster bootstrap"
        )
        for index, estimate in enumerate(exact)
    ]


def _comparison(
    table: PairTable,
    index: int,
    pair: PairDifferences,
    difference: Estimate,
    p_value: float,
    wins: Estimate,
    margin: float | None,
) -> Comparison:
    """Make the record; too few prompts on any axis leave the tests out."""
    reference, model = table.pairs[index]
    smallest = min(pair.sizes)
    tested = smallest >= MIN_PROMPTS
    plain_test = CLUSTERED if pair.clustered else SIGN_FLIP
    test = MCNEMAR if pair.counted else plain_test
    return Comparison(
        metric=table.metric.name,
        model=model,
        reference=reference,
        difference=difference,
        p_value=p_value if tested else None,
        p_holm=None,
        test=test if tested else "none",
        wins=pair.wins(),
        losses=pair.losses(),
        ties=sum(pair.sizes) - pair.wins() - pair.losses(),
        n=sum(pair.sizes),
        note="" if tested else f"no test: {smallest} paired prompts, under {MIN_PROMPTS}",
        family=table.metric.family,
        win_interval=wins,
        p_sign=sign_test(pair.wins(), pair.losses()) if tested and not pair.clustered else None,
        effect_size=_effect_size(pair),
        power=power_of(pair) if tested else None,
        p_equivalent=equivalence(pair, margin) if tested and margin else None,
        margin=margin,
        num_clusters=pair.num_clusters,
    )


def _effect_size(pair: PairDifferences) -> float | None:
    """Return Cohen's d_z of mean scores; None for rates, and where all differences are alike."""
    [units, *rest] = pair.units()
    return cohens_dz(units) if not pair.metric.is_rate and not rest and units.size > 1 else None


def power_of(pair: PairDifferences) -> Power:
    """Return the power of a pair's test; prompts needed count prompts, not clusters."""
    if pair.counted:
        return rate_power(pair.wins(), pair.losses(), pair.sizes[0])
    units = pair.units()
    found = mean_power_of(units[0]) if len(units) == 1 else stratified_power(units)
    if not pair.clustered or found.n_needed is None:
        return found
    needed = math.ceil(found.n_needed * sum(pair.sizes) / pair.num_clusters)
    return Power(power=found.power, detectable=found.detectable, n_needed=needed)


def equivalence(pair: PairDifferences, margin: float) -> float | None:
    """Test by TOST that the models are within the margin; None where the spread is not known."""
    if pair.counted:
        return tost_rates(pair.wins(), pair.losses(), pair.sizes[0], margin)
    units = pair.units()
    if len(units) == 1:
        return tost_mean(units[0], margin) if np.ptp(units[0]) else None
    errors = [float(part.var(ddof=1)) / part.size for part in units]
    error = math.sqrt(sum(errors)) / len(units)
    if error == 0.0:
        return None
    distance = margin - abs(float(np.mean([part.mean() for part in units])))
    return NormalDist().cdf(-distance / error)
