"""Whether a reward model's score differences mean what they say as probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError


def reliability(
    differences: NDArray[np.float64], *, bins: int = 10
) -> tuple[list[tuple[float, float, int]], float]:
    """Compare the probability that a judge gives its favourite with how often people agree.

    By Bradley and Terry, sigmoid(score(chosen) - score(rejected)) is the judge's probability that
    people prefer the chosen response. Which response stands first is arbitrary, so a diagram over
    0 to 1 would hold every pair twice, at p and 1 - p, with mirrored outcomes. Each pair is
    therefore entered once, from its favourite's side: predicted sigmoid(|difference|), 0.5 to 1,
    and a hit if people chose that favourite. A tie has no favourite: half a hit at 0.5.

    Args:
        differences: score(chosen) - score(rejected), one a pair, shape (n,), finite.
        bins: Number of bins of equal width over 0.5 to 1; empty ones are left out.

    Returns:
        Of each bin, ascending: mean predicted probability, hits, pairs. And the expected
        calibration error: the mean over pairs of |predicted - share of hits| of their bin, 0 to 1
        (at most 0.5 for a judge that is right at least half the time).

    Raises:
        MetricError: If there are no differences, one is not finite, or `bins` is below 1.

    Source: Bradley and Terry 1952, doi:10.1093/biomet/39.3-4.324; Naeini et al. 2015 (AAAI), for
        the calibration error.
    """
    from scipy import special

    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or bins < 1:
        raise MetricError(
            f"no calibration from {values.size} score differences in {bins} bins",
            why="it needs at least one pair, finite scores and one bin",
            hint="leave out pairs without two scores",
        )
    predicted = special.expit(np.abs(values))
    hits = (np.sign(values) + 1.0) / 2.0
    place = np.minimum((2.0 * bins * (predicted - 0.5)).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=predicted, minlength=bins)
    right = np.bincount(place, weights=hits, minlength=bins)
    found = [
        (float(sums[index] / counts[index]), float(right[index]), int(counts[index]))
        for index in np.flatnonzero(counts)
    ]
    return found, float(np.abs(sums - right).sum() / values.size)
