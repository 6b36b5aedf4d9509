"""Clusters of prompts that belong together: near-duplicates are drawn and flipped as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError


def checked_labels(clusters: NDArray[np.int64], num_prompts: int) -> NDArray[np.int64]:
    """Return the labels as an array, if there is one integer a prompt.

    Args:
        clusters: One label a prompt, shape (n,): any integers.
        num_prompts: n.

    Raises:
        MetricError: If the labels don't fit.
    """
    labels = np.asarray(clusters)
    if labels.shape != (num_prompts,) or not np.issubdtype(labels.dtype, np.integer):
        raise MetricError(
            f"cluster labels of shape {labels.shape} and type {labels.dtype} for {num_prompts}"
            " prompts",
            why="each prompt belongs to one cluster, named by an integer",
            hint="give one integer a prompt",
        )
    return labels


def sums_by_cluster(
    values: NDArray[np.float64], clusters: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum each row over the prompts of each cluster.

    Args:
        values: Shape (k, n), finite.
        clusters: One label a prompt, shape (n,): any integers.

    Returns:
        Sums, shape (k, number of clusters), and the clusters' sizes in prompts, in the order of
        the labels.

    Raises:
        MetricError: If there is not one integer label a prompt.
    """
    labels = checked_labels(clusters, values.shape[1])
    _, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if sizes.size == labels.size:
        # Nothing to add up; the prompts' own order keeps the draws those without clusters.
        return values, np.ones(labels.size)
    sums = [np.bincount(own, weights=row, minlength=sizes.size) for row in values]
    return np.stack(sums), sizes.astype(np.float64)
