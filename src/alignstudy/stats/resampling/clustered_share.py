"""Wilson's interval beyond plain counts: clusters of observations, ties as halves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.records import Estimate
from alignstudy.stats.intervals import wilson_ends


def clustered_share(hits: NDArray[np.float64]) -> Estimate:
    """Share of hits in percent, with Wilson's interval at the effective sample size.

    Observations of one cluster (the pairs of models on one prompt) resemble each other, so that n
    of them are worth fewer independent ones: n over the design effect, the variance of the share
    between clusters over that of as many independent observations. It is taken to lie between the
    number of clusters and n; where all observations are alike, it is the number of clusters.

    Args:
        hits: 1 for a hit, 0 for a miss, NaN for no observation; shape (k, clusters).

    Returns:
        0 to 100; `n` counts observations, not clusters.

    Raises:
        MetricError: If there is no observation.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; Korn and Graubard 1998, Survey
        Methodology 24, 193-201 (effective sample size).
    """
    there = np.isfinite(hits)
    counts = there.sum(axis=0)
    n, clusters = int(counts.sum()), int((counts > 0).sum())
    if not n:
        raise MetricError("a share is not defined without observations")
    rate = float(np.where(there, hits, 0.0).sum() / n)
    excess = np.where(there, hits - rate, 0.0).sum(axis=0)
    effective = float(clusters)
    if 0.0 < rate < 1.0 and clusters > 1:
        variance = float((excess**2).sum()) / n**2 * clusters / (clusters - 1)
        worth = rate * (1 - rate) / variance if variance > 0.0 else n
        effective = min(max(worth, clusters), n)
    low, high = effective_wilson(rate, effective)
    return Estimate(value=100.0 * rate, low=low, high=high, n=n, method="wilson, clustered")


def weighted_share(hits: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    """Share of hits in percent where observations stand for unequally many, in clusters.

    Wilson's interval at the effective sample size, which is at most what unequal weights leave of n
    (Kish); where all observations are alike, at most what they leave of the clusters.

    Args:
        hits: 1 for a hit, 0 for a miss, NaN for no observation; shape (k, clusters).
        weights: Of the observations, above 0, same shape.

    Returns:
        0 to 100; `n` counts observations.

    Raises:
        MetricError: If there is no observation.

    Source: Korn and Graubard 1998, Survey Methodology 24, 193-201; Kish 1965, Survey Sampling,
        section 11.7.
    """
    there = np.isfinite(hits)
    n = int(there.sum())
    if not n:
        raise MetricError("a share is not defined without observations")
    shares = np.where(there, weights, 0.0) / weights[there].sum()
    found, missed = ((shares * np.where(there, part, 0.0)).sum() for part in (hits, 1.0 - hits))
    rate = float(found / (found + missed))  # exactly 1 where nothing was missed
    by_cluster = shares.sum(axis=0)
    clusters = int((by_cluster > 0.0).sum())
    effective = 1.0 / float(np.square(by_cluster).sum())
    if 0.0 < rate < 1.0 and clusters > 1:
        excess = (shares * np.where(there, hits - rate, 0.0)).sum(axis=0)
        variance = float(np.square(excess).sum()) * clusters / (clusters - 1)
        most = 1.0 / float(np.square(shares).sum())
        effective = min(rate * (1 - rate) / variance, most) if variance > 0.0 else most
    low, high = effective_wilson(rate, effective)
    return Estimate(value=100.0 * rate, low=low, high=high, n=n, method="wilson, weighted")


def effective_wilson(rate: float, n: float) -> tuple[float, float]:
    """Wilson's interval in percent where hits or observations need not be whole numbers.

    Args:
        rate: Share of hits, 0 to 1; ties may have counted one half.
        n: Number of observations, or what they are worth, above 0.

    Raises:
        MetricError: If the rate is impossible or there are no observations.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if n <= 0 or not 0.0 <= rate <= 1.0:
        raise MetricError(f"a rate of {rate} on {n} observations has no interval")
    return wilson_ends(rate, n)
