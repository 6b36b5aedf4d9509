"""Every pair of models compared, prompt by prompt, with tests that know the pairing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_intervals import difference_estimates
from alignstudy.analysis.comparisons.pair_table import PairTable, pair_tables
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.results import Comparison
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.metrics.rates import WIN_RATE
from alignstudy.records import Axis, Estimate
from alignstudy.records.robustness import Power
from alignstudy.stats.effect import cohens_dz, win_rate_interval
from alignstudy.stats.equivalence import tost_mean, tost_rates
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.power.power import mean_power_of, rate_power, stratified_power
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

MIN_PROMPTS = 10
"""Below so many paired prompts no test is made."""

MCNEMAR = "exact McNemar"
SIGN_FLIP = "sign-flip permutation"
CLUSTERED = "sign-flip permutation over clusters"


class PairDifferences:
    """The differences of one pair in one metric.

    Attributes:
        table: Where they are from.
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
        self.table = table
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

    @property
    def num_clusters(self) -> int:
        """Independent clusters of paired prompts."""
        return sum(part.size for part in self.units)


def is_counted(table: PairTable) -> bool:
    """Whether a table is of rates of one seed on prompts that are all independent."""
    plain = not table.several_seeds and table.clusters is None
    return table.metric.is_rate and len(table.sides) == 1 and plain


def compare_pairs(
    panels: dict[str, ScoreMatrix],
    *,
    axes: Sequence[Axis],
    base: str | None,
    margins: Margins,
    resampler: Resampler,
) -> tuple[Comparison, ...]:
    """Compare every pair of models in the rates, their mean and the mean scores.

    Rates of one seed: McNemar's exact test with Tango's interval. With clusters of near-duplicate
    prompts, or several seeds: per-prompt means over seeds by a sign-flip test over clusters, with
    an interval that resamples clusters, and seeds. CAS and scores are always tested so. P-values
    are Holm-adjusted within three families: the rates of all pairs, CAS of all pairs, the mean
    scores of all pairs.

    Args:
        panels: Scores by axis.
        axes: Those of the study: CAS rests on all of them.
        base: The reference of the pairs that it is in; else the model that stands first.
        margins: Within which distance two models count as alike.
        resampler: Draws prompts, seeds and signs.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    found: list[Comparison] = []
    for table in pair_tables(panels, axes=axes, base=base):
        found += compared(table, margin=_margin(table, base, margins), resampler=resampler)
    return adjust(found)


def _margin(table: PairTable, base: str | None, margins: Margins) -> float | None:
    """Return the margin in the metric's unit; None where all scores of the base are alike."""
    if table.metric.is_rate:
        return margins.rates
    if margins.scores is not None:
        return margins.scores
    panel = table.sides[0].panel
    known = panel.known()
    scores = panel.by_seed[panel.row(base if base in known and base else known[0])]
    scores = scores[~np.isnan(scores)]
    spread = float(scores.std(ddof=1)) if scores.size > 1 else 0.0
    return margins.score_sds * spread or None


def adjust(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Fill in Holm-adjusted p-values, family by family; comparisons without a test stay out."""
    families: dict[str, list[int]] = {}
    for index, comparison in enumerate(comparisons):
        if comparison.p_value is not None:
            families.setdefault(comparison.family, []).append(index)
    adjusted = list(comparisons)
    for members in families.values():
        p_values = [comparisons[index].p_value or 0.0 for index in members]
        for index, p_holm in zip(members, holm(p_values), strict=True):
            adjusted[index] = replace(adjusted[index], p_holm=p_holm)
    return tuple(adjusted)


def compared(table: PairTable, *, margin: float | None, resampler: Resampler) -> list[Comparison]:
    """Compare every pair of a table; p-values are not adjusted yet.

    Args:
        table: Differences of every pair.
        margin: Of equivalence, in the metric's unit; None for no such test.
        resampler: Draws prompts, seeds and signs.
    """
    pairs = [PairDifferences(table, index) for index in range(len(table.pairs))]
    if is_counted(table):
        p_values = [mcnemar_exact(pair.wins, pair.losses) for pair in pairs]
    else:
        # The mean over prompt sets of the mean difference within each.
        weighted = []
        for side in table.sides:
            size = (~np.isnan(side.differences)).sum(axis=1)
            weighted.append(np.nan_to_num(side.differences) / (len(table.sides) * size[:, None]))
        p_values = resampler.sign_flip(np.concatenate(weighted, axis=1), table.clusters)
    estimates = difference_estimates(table, resampler)
    wins = _win_intervals(table, pairs, resampler)
    found = []
    for index, pair in enumerate(pairs):
        # Too few prompts on any axis leave the tests out.
        smallest = min(row.size for row in pair.rows)
        tested = smallest >= MIN_PROMPTS
        test = CLUSTERED if pair.is_clustered else SIGN_FLIP
        has_effect = not table.metric.is_rate and len(pair.units) == 1 and pair.num_clusters > 1
        has_sign = tested and not pair.is_clustered
        found.append(
            Comparison(
                metric=table.metric.name,
                model=table.pairs[index][1],
                reference=table.pairs[index][0],
                difference=estimates[index],
                p_value=p_values[index] if tested else None,
                p_holm=None,
                test=(MCNEMAR if is_counted(table) else test) if tested else "none",
                wins=pair.wins,
                losses=pair.losses,
                ties=pair.n - pair.wins - pair.losses,
                n=pair.n,
                note="" if tested else f"no test: {smallest} paired prompts, under {MIN_PROMPTS}",
                family=table.metric.family,
                win_interval=wins[index],
                p_sign=mcnemar_exact(pair.wins, pair.losses) if has_sign else None,
                effect_size=cohens_dz(pair.units[0]) if has_effect else None,
                power=power_of(pair) if tested else None,
                p_equivalent=equivalence(pair, margin) if tested and margin else None,
                margin=margin,
                num_clusters=pair.num_clusters,
            )
        )
    return found


def _win_intervals(
    table: PairTable, pairs: Sequence[PairDifferences], resampler: Resampler
) -> list[Estimate]:
    """Return win rates; where prompts are clustered, their intervals resample clusters."""
    exact = [
        replace(
            win_rate_interval(pair.wins, pair.losses, pair.n - pair.wins - pair.losses),
            value=WIN_RATE.of(np.concatenate(pair.rows)),
        )
        for pair in pairs
    ]
    if not any(pair.is_clustered for pair in pairs):
        return exact
    signs = np.concatenate([np.sign(side.differences) for side in table.sides], axis=1)
    means = bootstrap_means(
        50.0 * (1.0 + signs), draws=resampler.draws, rng=resampler.rng, clusters=table.clusters
    )
    return [
        estimate
        if np.ptp(drawn) == 0.0
        else percentile_estimate(estimate.value, drawn, n=estimate.n, method="cluster bootstrap")
        for estimate, drawn in zip(exact, means.T, strict=True)
    ]


def power_of(pair: PairDifferences) -> Power:
    """Return the power of a pair's test; prompts needed count prompts, not clusters."""
    if is_counted(pair.table):
        return rate_power(pair.wins, pair.losses, pair.n)
    units = pair.units
    found = mean_power_of(units[0]) if len(units) == 1 else stratified_power(units)
    if not pair.is_clustered or found.n_needed is None:
        return found
    return replace(found, n_needed=math.ceil(found.n_needed * pair.n / pair.num_clusters))


def equivalence(pair: PairDifferences, margin: float) -> float | None:
    """Test by TOST that the models are within the margin; None where the spread is not known."""
    if is_counted(pair.table):
        return tost_rates(pair.wins, pair.losses, pair.n, margin)
    units = pair.units
    if len(units) == 1:
        return tost_mean(units[0], margin) if np.ptp(units[0]) else None
    errors = [float(part.var(ddof=1)) / part.size for part in units]
    error = math.sqrt(sum(errors)) / len(units)
    if error == 0.0:
        return None
    distance = margin - abs(float(np.mean([part.mean() for part in units])))
    return NormalDist().cdf(-distance / error)
