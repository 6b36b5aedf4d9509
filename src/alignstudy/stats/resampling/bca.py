"""The bias-corrected and accelerated bootstrap: intervals of means that follow their skewness."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.records import Estimate
from alignstudy.stats.intervals import LEVEL
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate
from alignstudy.stats.resampling.clusters import sums_by_cluster
from alignstudy.stats.seed_tables import in_units
from alignstudy.stats.seeds import unit_spread

BCA = "BCa bootstrap"
PERCENTILE = "bootstrap"
NO_SPREAD = "no spread"
STUDENT = "Student's t"
_FEW = 50
"""Under so many prompts (clusters) Student's interval covers better than BCa's."""


def bca_means(
    values: NDArray[np.float64],
    *,
    draws: int,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
) -> list[Estimate]:
    """Means with BCa intervals over prompts, or over clusters of prompts.

    The acceleration comes from the jackknife over prompts (clusters). An estimate's `method` says
    how its interval was made: "BCa bootstrap"; "bootstrap", the percentile interval, where the
    correction is undefined because every replicate lies on one side of the mean; "no spread"
    where all prompts are alike or there is only one cluster, so that the interval is a point and
    says nothing of the uncertainty.

    Args:
        values: One row a quantity, shape (k, n); NaN where a row has no value for a prompt.
        draws: Number of resamples.
        rng: Source of the draws.
        clusters: One label a prompt, shape (n,); a cluster is drawn whole.

    Raises:
        MetricError: If a row has no value at all, `draws` is below 1, or the labels don't fit.

    Source: Efron 1987, doi:10.1080/01621459.1987.10478410, sections 3 and 6.
    """
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    replicates = bootstrap_means(matrix, draws=draws, rng=rng, clusters=clusters)
    found = []
    for row, drawn in zip(matrix, replicates.T, strict=True):
        there = ~np.isnan(row)
        labels = None if clusters is None else np.asarray(clusters)[there]
        found.append(_estimate(row[there], labels, drawn))
    return found


def mean_estimates(
    values: NDArray[np.float64],
    *,
    draws: int,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
) -> list[Estimate]:
    """Means with the interval that covers better: Student's t under 50 prompts, else BCa.

    Of 10, 20 and 50 normal scores BCa covers 90, 92 and 93 %, Student's t 94 to 95; of t(3) scores
    86, 89 and 92 against 96; of lognormal ones either covers 82 to 84, 86 to 87 and 91
    (simulated; from 200 on both cover 93 to 96).

    Args:
        values: One row a quantity, shape (k, n); NaN where a row has no value for a prompt.
        draws: Number of resamples.
        rng: Source of the draws.
        clusters: One label a prompt, shape (n,): what is counted then.
    """
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    found = bca_means(matrix, draws=draws, rng=rng, clusters=clusters)
    return [_by_t(row, clusters, estimate) for row, estimate in zip(matrix, found, strict=True)]


def _by_t(
    row: NDArray[np.float64], clusters: NDArray[np.int64] | None, estimate: Estimate
) -> Estimate:
    """Return Student's interval of a mean over few prompts; BCa's where they are many."""
    there = ~np.isnan(row)
    labels = None if clusters is None else np.asarray(clusters)[there]
    units = in_units(row[None, there], labels)[0]
    if not 1 < units.size < _FEW or estimate.method == NO_SPREAD:
        return estimate
    half = unit_spread([units]).half_width()
    return replace(estimate, low=estimate.value - half, high=estimate.value + half, method=STUDENT)


def _estimate(
    row: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    replicates: NDArray[np.float64],
) -> Estimate:
    """Return one row's mean with the best interval that is defined."""
    mean = float(row.mean())
    sums, sizes = row, np.ones(row.size)
    if labels is not None:
        by_cluster, sizes = sums_by_cluster(row[None, :], labels)
        sums = by_cluster[0]
    # Means without each prompt or cluster; nothing would be left without a single one.
    left_out = np.array([mean])
    if sums.size > 1:
        left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    # Rounding alone makes the means of equal numbers differ in their last bits.
    if np.ptp(left_out) <= 1e-12 * float(np.abs(row).max()):
        return Estimate(value=mean, low=mean, high=mean, n=row.size, method=NO_SPREAD)
    levels = bca_levels(mean, replicates, left_out)
    if levels is None:
        return percentile_estimate(mean, replicates, n=row.size, method=PERCENTILE)
    low, high = np.quantile(replicates, levels)
    return Estimate(value=mean, low=float(low), high=float(high), n=row.size, method=BCA)


def bca_levels(
    value: float, replicates: NDArray[np.float64], left_out: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Quantiles of the replicates that end the BCa interval.

    Args:
        value: The estimate.
        replicates: Bootstrap replicates of it, shape (draws,).
        left_out: Jackknife values of it, shape (units,), not all alike.

    Returns:
        Lower and upper level, 0 to 1; None where the bias correction is infinite or the
        acceleration turns the levels round.
    """
    from scipy import special

    normal = NormalDist()
    below = ((replicates < value).mean() + (replicates <= value).mean()) / 2.0
    if not 0.0 < below < 1.0:
        return None
    bias = normal.inv_cdf(float(below))
    influence = left_out.mean() - left_out
    scale = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6.0 * scale**1.5)
    ends = []
    for share in ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0):
        shifted = bias + normal.inv_cdf(share)
        if acceleration * shifted >= 1.0:
            return None
        ends.append(float(special.ndtr(bias + shifted / (1.0 - acceleration * shifted))))
    return ends[0], ends[1]
