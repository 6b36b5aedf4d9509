"""Intervals of the differences of a table of pairs: Tango's, BCa, or from resampled clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_table import PairTable
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.records import Estimate
from alignstudy.stats.intervals import mover_mean, tango
from alignstudy.stats.resampling.bca import mean_estimates
from alignstudy.stats.resampling.bootstrap import percentile_estimate


def difference_estimates(table: PairTable, resampler: Resampler) -> list[Estimate]:
    """Return the difference of every pair of models of one seed, with its interval.

    Tango's score interval for rates on independent prompts, BCa or Student's t for mean scores, a
    bootstrap over clusters else. Where all resamples of a prompt set would be alike, Tango's
    interval of the clusters stands in.

    Args:
        table: Differences of every pair.
        resampler: Draws prompts.
    """
    if len(table.sides) > 1:
        return _resampled(table, resampler, method="stratified bootstrap")
    [side] = table.sides
    if not table.metric.is_rate:
        return mean_estimates(
            side.differences,
            draws=resampler.draws,
            rng=resampler.rng,
            clusters=side.panel.clusters,
        )
    if side.panel.clusters is not None:
        return _resampled(table, resampler, method="cluster bootstrap")
    return [_tango(row[~np.isnan(row)]) for row in side.differences]


def _resampled(table: PairTable, resampler: Resampler, *, method: str) -> list[Estimate]:
    replicates = resampler.of_pairs(table)
    found = []
    for index in range(len(table.pairs)):
        rows = [side.differences[index] for side in table.sides]
        there = [row[~np.isnan(row)] for row in rows]
        estimate = percentile_estimate(
            float(np.mean([row.mean() for row in there])),
            replicates[:, index],
            n=sum(row.size for row in there),
            method=method,
        )
        if table.metric.is_rate and any(np.ptp(row) == 0.0 for row in there):
            # All resamples would be alike: Tango's interval doesn't shrink to nothing.
            # A cluster whose prompts all agree is one difference.
            units = []
            for side, row in zip(table.sides, there, strict=True):
                clusters = np.unique(side.panel.cluster_of[~np.isnan(side.differences[index])])
                units.append(row if np.ptp(row) else np.full(len(clusters), row[0]))
            if all(np.isin(part, (-100.0, 0.0, 100.0)).all() for part in units):
                sides = [_tango(part) for part in units]
                estimate = mover_mean(sides) if len(sides) > 1 else sides[0]
        found.append(estimate)
    return found


def _tango(row: NDArray[np.float64]) -> Estimate:
    return tango(int((row > 0).sum()), int((row < 0).sum()), row.size)
