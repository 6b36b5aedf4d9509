"""The sign-flip permutation test of paired differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.stats.resampling.clusters import sums_by_cluster

EXACT_UP_TO = 16
"""Up to so many non-zero differences every sign pattern is enumerated."""

_CELLS = 300_000
"""Of a block of sign patterns: what stays in a core's own cache takes half the time."""


def sign_flip(
    differences: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    flips: int = 200_000,
    clusters: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Two-sided p-values that paired differences are symmetric about zero.

    Under the null hypothesis each prompt's difference has either sign with equal chance. Where at
    most 16 differences of a row are not zero, all sign patterns are enumerated; else `flips`
    random patterns are drawn, the same ones for all rows, and the observed one is counted too,
    which keeps the test valid: the smallest p-value is 1 / (flips + 1).

    Args:
        differences: One row a comparison, shape (k, n); 0 where a prompt is not in the comparison.
        rng: Source of the random signs.
        flips: Number of random sign patterns.
        clusters: One label a prompt, shape (n,). All differences of a cluster flip together, so
            that the test is valid where they depend on each other. None: each prompt by itself.

    Returns:
        P-values, shape (k,); 1 for a row of zeros.

    Raises:
        MetricError: If a difference is not finite, `flips` is below 1, or the labels don't fit.

    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585, for the +1.
    """
    matrix = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    if not np.isfinite(matrix).all() or flips < 1:
        raise MetricError(
            "a sign-flip test needs finite differences and at least one flip",
            hint="give 0 where a prompt is not in the comparison",
        )
    if clusters is not None:
        matrix, _ = sums_by_cluster(matrix, clusters)
    p_values = np.ones(len(matrix))
    num_nonzero = np.count_nonzero(matrix, axis=1)
    few = num_nonzero <= EXACT_UP_TO
    for row in np.flatnonzero(few & (num_nonzero > 0)):
        nonzero = matrix[row][matrix[row] != 0.0]
        sums = np.zeros(1)
        for difference in nonzero:
            sums = np.concatenate([sums + difference, sums - difference])
        p_values[row] = np.mean(np.abs(sums) >= _observed(nonzero[None, :], slack=1e-10)[0])
    if not few.all():
        p_values[~few] = _sampled(matrix[~few], rng=rng, flips=flips)
    return p_values


def _sampled(
    matrix: NDArray[np.float64], *, rng: np.random.Generator, flips: int
) -> NDArray[np.float64]:
    """Return p-values from random sign patterns, drawn in blocks to bound memory."""
    used = matrix[:, np.any(matrix != 0.0, axis=0)]
    used = used / np.abs(used).sum(axis=1, keepdims=True)  # rows of any unit mix in one basis
    # Single precision halves the time of the one costly product; the slack covers its rounding.
    basis, mixture = (part.astype(np.float32) for part in _factors(used))
    total, observed = used.sum(axis=1), _observed(used, slack=1e-6)
    extreme = np.zeros(len(used), dtype=np.int64)
    block = max(1, _CELLS // len(basis))
    for start in range(0, flips, block):
        size = min(block, flips - start)
        raw = np.frombuffer(rng.bytes(size * -(-len(basis) // 8)), dtype=np.uint8)
        kept = np.unpackbits(raw.reshape(size, -1), axis=1, count=len(basis)).astype(np.float32)
        sums = kept @ basis @ mixture
        extreme += (np.abs(2.0 * sums - total) >= observed).sum(axis=0)
    p_values: NDArray[np.float64] = (1 + extreme) / (1 + flips)
    return p_values


def _factors(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split the transposed rows into a basis, shape (n, r), and how it mixes into them, (r, k).

    The differences of all pairs of m models have only m - 1 dimensions, and their sums over a sign
    pattern follow from those of a basis.
    """
    left, scales, right = np.linalg.svd(matrix, full_matrices=False)
    rank = int((scales > 1e-10 * scales[0]).sum())
    if 2 * rank > len(matrix):
        return matrix.T, np.eye(len(matrix))
    rank = -(-rank // 8) * 8  # matrix products are fastest in multiples of eight
    return np.ascontiguousarray(right[:rank].T), (left[:, :rank] * scales[:rank]).T


def _observed(matrix: NDArray[np.float64], *, slack: float) -> NDArray[np.float64]:
    """Return |sum| of each row, less what rounding may take from a pattern that ties with it."""
    return np.asarray(np.abs(matrix.sum(axis=1)) - slack * np.abs(matrix).sum(axis=1))
