"""Rates corrected by labels: a judge read every response, people (or a better judge) some of them.

Prediction-powered inference (PPI++): the mean of what the judge says of all, times the trust in it,
plus the mean of what the labels say beyond that. It is unbiased whatever the judge is worth; the
trust is tuned on the labels, so that a useless judge leaves the labels alone. The labelled units
are some of those that the judge read, drawn with known chances: their part of the variance has the
factor of a finite population, and is nothing where all are labelled.

Source: Angelopoulos, Duchi and Zrnic 2023, "PPI++: Efficient prediction-powered inference",
arXiv:2311.01453; Hansen and Hurwitz 1943, doi:10.1214/aoms/1177731356, for weighted draws; the
coverage is simulated (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.records import Estimate
from alignstudy.stats.spread import Spread

METHOD = "PPI++"
LABELS_METHOD = "labels alone"
_CONTRADICTION = 0.5
"""Squared error that is added to the labels' own, as if half a label more contradicted the judge:
without it, 30 labels of a judge that seldom errs give intervals that cover 83 %, with it 94."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The labels of some units (prompts), beside what a judge says of all.

    Attributes:
        truth: Labels, shape (n,): 1 for a pass, 0 for none; of a pair their difference.
        judged: What the judge says of the same responses, shape (n,).
        stands_for: How many units each labelled one stands for: 1 over its chance to be drawn,
            shape (n,), at least 1; in any case brought to the sum N.
        everyone: What the judge says of all units, shape (N,): means over training seeds.
        clusters: One label a labelled unit, shape (n,): near-duplicates err together.
        num_clusters: Independent clusters among the N units.
    """

    truth: Values
    judged: Values
    stands_for: Values
    everyone: Values
    clusters: NDArray[np.int64]
    num_clusters: int

    def __post_init__(self) -> None:
        n, size = self.truth.size, self.everyone.size
        parts = (self.truth, self.judged, self.stands_for, self.everyone)
        sound = all(part.ndim == 1 and np.isfinite(part).all() for part in parts)
        alike = self.judged.size == self.stands_for.size == self.clusters.size == n
        if not (sound and alike and 2 <= n <= size and 1 <= self.num_clusters <= size):
            raise MetricError(
                f"no correction by {n} labels of {size} units",
                why="it takes two labels or more, each with the judge's word on the same response,"
                " of units that the judge read",
                hint="label more responses",
            )

    @property
    def units(self) -> Values:
        """`stands_for`, with the sum N and nothing below 1."""
        return np.asarray(np.maximum(1.0, self.everyone.size * self.shares))

    @property
    def shares(self) -> Values:
        """Weights of the labelled units, with the sum 1."""
        return np.asarray(self.stands_for / self.stands_for.sum())


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A mean over units with its variance, in two parts.

    Attributes:
        value: 0 to 1, or -1 to 1 of a pair.
        trust: How far the judge is trusted (lambda): 0 not at all, 1 as the labels.
        drawn: Variance by the draw of the units: what labels of all of them would leave.
        df_drawn: Its degrees of freedom.
        labels: Variance by the draw of the labels.
        df_labels: Its degrees of freedom.
        num_labels: Labelled units.
    """

    value: float
    trust: float
    drawn: float
    df_drawn: float
    labels: float
    df_labels: float
    num_labels: int


def tuned_trust(sample: Labelled) -> float:
    """Return the trust that makes the corrected mean most exact, 0 to 1.

    Source: arXiv:2311.01453, section 6: Cov(truth, judged) / Var(judged), where the labelled units
    are part of all. (Its 1 + n / N stands with units that have no label, and means the same.)
    """
    judged, truth = (side - sample.shares @ side for side in (sample.judged, sample.truth))
    variance = float(sample.shares @ judged**2)
    if variance <= 0.0:
        return 0.0
    return min(1.0, max(0.0, float(sample.shares @ (truth * judged)) / variance))


def corrected_mean(sample: Labelled, *, rate: bool, trust: float | None = None) -> Corrected:
    """Correct a judge's mean by labels.

    Args:
        sample: Labels, and what the judge says.
        rate: Whether values are passes, 0 or 1; else they are differences of two.
        trust: Given: taken as it is (0: the labels alone); None: tuned on these labels.

    Returns:
        The mean; its variances are never 0 unless every unit is labelled: few labels that all
        agree with the judge don't show that it never errs.
    """
    n, weights, units = sample.truth.size, sample.shares, sample.units
    trusted = tuned_trust(sample) if trust is None else trust
    rest = sample.truth - trusted * sample.judged
    mean_rest = float(weights @ rest)
    value = trusted * float(sample.everyone.mean()) + mean_rest
    left_out = 1.0 - 1.0 / units
    errors = np.sqrt(left_out) * weights * (rest - mean_rest)
    by_cluster = np.bincount(np.unique(sample.clusters, return_inverse=True)[1], weights=errors)
    groups = by_cluster.size
    freedom = max(1.0, groups - (2.0 if trusted and trust is None else 1.0))
    more = _CONTRADICTION * float(left_out.mean()) / n**2
    if rate:
        value = min(1.0, max(0.0, value))
        kept = _away_from_ends(value, n)
        variance = kept * (1.0 - kept)
    else:
        value = min(1.0, max(-1.0, value))
        centred = sample.truth - weights @ sample.truth
        variance = float(weights @ centred**2) + 1.0 / n
    return Corrected(
        value=value,
        trust=trusted,
        drawn=variance / sample.num_clusters,
        df_drawn=max(1.0, sample.num_clusters - 1.0),
        labels=float(by_cluster @ by_cluster) * groups / freedom + more,
        df_labels=freedom,
        num_labels=n,
    )


def _away_from_ends(rate: float, n: int) -> float:
    """Return a rate as if one more had passed and one had failed."""
    return (rate * n + 1.0) / (n + 2.0)


def spread_of(parts: Sequence[Corrected], seeds: tuple[float, float] = (0.0, 1.0)) -> Spread:
    """Return the mean of one corrected mean an axis, with all of its variance.

    Args:
        parts: On prompts of their own: independent.
        seeds: What training again adds to the mean's variance, and its degrees of freedom.
    """
    variances = [(part.drawn, part.df_drawn) for part in parts]
    variances += [(part.labels, part.df_labels) for part in parts]
    total = sum(variance for variance, _ in variances)
    below = sum(variance**2 / df for variance, df in variances)
    return Spread(
        value=float(np.mean([part.value for part in parts])),
        prompts=total / len(parts) ** 2,
        df_prompts=total**2 / below,
        seeds=seeds[0],
        df_seeds=seeds[1],
    )


def rate_interval(spread: Spread, *, n: int, num_labels: int, method: str = METHOD) -> Estimate:
    """Return a corrected rate in percent, with Wilson's interval for its variance.

    Args:
        spread: Of the rate, 0 to 1.
        n: Prompts that the judge read.
        num_labels: Of them labelled.
        method: What the estimate says of its interval.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; Korn and Graubard 1998, Survey
        Methodology 24, 193-201 (a variance as an effective number).
    """
    value = spread.value
    kept = _away_from_ends(value, num_labels)
    inside = max(value * (1.0 - value), kept * (1.0 - kept) / 2.0)
    kappa = spread.half_width() ** 2 / inside
    middle = (value + kappa / 2.0) / (1.0 + kappa)
    half = math.sqrt(kappa * value * (1.0 - value) + kappa**2 / 4.0) / (1.0 + kappa)
    low, high = min(value, max(0.0, middle - half)), max(value, min(1.0, middle + half))
    return Estimate(value=100.0 * value, low=100.0 * low, high=100.0 * high, n=n, method=method)


def mean_of_labels(values: Values, sample: Labelled) -> Estimate:
    """Return the mean of a value that labels tell, in percent, for all units.

    Args:
        values: One a labelled unit, -1 to 1, shape (n,): what the judge says beyond the label.
        sample: Whose labels.
    """
    alone = Labelled(
        truth=values,
        judged=np.zeros_like(values),
        stands_for=sample.stands_for,
        everyone=sample.everyone,
        clusters=sample.clusters,
        num_clusters=sample.num_clusters,
    )
    spread = spread_of([corrected_mean(alone, rate=False, trust=0.0)]).in_unit(100.0)
    return Estimate(
        value=spread.value + 0.0,
        low=max(-100.0, spread.value - spread.half_width()),
        high=min(100.0, spread.value + spread.half_width()),
        n=values.size,
        method=LABELS_METHOD,
    )
