"""Tables of seeds by units, as inference over training seeds and prompts needs them: no gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""Shape (seeds, units); a unit is a prompt, or a cluster of near-duplicates."""


def complete(
    sides: Sequence[Sequence[NDArray[np.float64]]], labels: Sequence[NDArray[np.int64]]
) -> list[list[Table]]:
    """Return tables of seeds by units without gaps, for inference over seeds and prompts.

    Args:
        sides: One an axis: a table a model, each of shape (seeds, prompts), NaN where there is no
            score. A model's seeds are those that it has on all axes, an axis' prompts those that
            all of its models have in all of their seeds.
        labels: One an axis: the cluster of each prompt.
    """
    seeds = [
        np.logical_and.reduce([~np.isnan(table).all(axis=1) for table in tables])
        for tables in zip(*sides, strict=True)
    ]
    found = []
    for tables, own in zip(sides, labels, strict=True):
        kept = [table[there] for table, there in zip(tables, seeds, strict=True)]
        whole = np.logical_and.reduce([~np.isnan(table).any(axis=0) for table in kept])
        found.append([in_units(table[:, whole], own[whole]) for table in kept])
    return found


def in_units(values: Table, labels: NDArray[np.int64] | None) -> Table:
    """Make prompts' values those of their clusters, which are what is drawn.

    A cluster's is the mean of all plus its summed residuals over the mean cluster size: that keeps
    each seed's mean, and has the variance of a ratio of sums.

    Args:
        values: Shape (seeds, prompts), complete.
        labels: One a prompt; None: each is alone.
    """
    if labels is None:
        return values
    names, number = np.unique(labels, return_inverse=True)
    if len(names) == values.shape[1]:
        return values
    means = values.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(number, weights=row) for row in values - means])
    return np.asarray(means + sums * len(names) / values.shape[1])
