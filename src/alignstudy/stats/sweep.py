"""Rates over a grid of thresholds: does a finding hang on where the line was drawn?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError

_DECIMALS = 9
"""Rates that agree to so many decimals are ties: means over seeds differ by rounding errors."""


def sweep_rates(
    scores: NDArray[np.float64], thresholds: NDArray[np.float64], *, inclusive: bool
) -> NDArray[np.float64]:
    """Share of prompts whose score passes each threshold, in percent.

    A prompt's share is the mean over its training seeds of the share of each one's samples that
    pass; prompts count alike.

    Args:
        scores: Shape (models, seeds, samples, n), where the middle ones may be left out; NaN where
            there is no score.
        thresholds: Shape (t,), finite.
        inclusive: Whether a score equal to the threshold passes.

    Returns:
        Shape (models, t).

    Raises:
        MetricError: If a model has no score at all, or a threshold is not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    grid = np.asarray(thresholds, dtype=np.float64)
    if table.ndim not in (2, 3, 4) or grid.ndim != 1 or not np.isfinite(grid).all():
        raise MetricError(
            f"no sweep of scores of shape {table.shape} over thresholds of shape {grid.shape}",
            why="it needs (models, seeds, samples, prompts), and finite thresholds",
            hint="give a list of numbers as thresholds",
        )
    cube = table.reshape(len(table), *(*table.shape[1:-1], 1, 1)[:2], table.shape[-1])
    there = ~np.isnan(cube)
    samples = there.sum(axis=2)
    seeds = (samples > 0).sum(axis=1)
    num_prompts = (seeds > 0).sum(axis=1)
    if (num_prompts == 0).any():
        raise MetricError(
            "a rate is not defined for a model without any score",
            hint="leave the model out, or score its responses",
        )
    of_seed = there / np.maximum(samples, 1)[:, :, None]
    weights = of_seed / np.maximum(seeds, 1)[:, None, None] / num_prompts[:, None, None, None]
    rates = np.empty((len(cube), grid.size))
    for row, (values, worth) in enumerate(zip(cube, weights, strict=True)):
        order = np.argsort(values, axis=None)  # NaN last, with weight 0
        known = order[: int((~np.isnan(values)).sum())]
        from_here = np.append(np.cumsum(worth.ravel()[known][::-1])[::-1], 0.0)
        ascending = values.ravel()[known]
        first = np.searchsorted(ascending, grid, side="left" if inclusive else "right")
        rates[row] = 100.0 * from_here[first]
    return rates


def rankings(rates: NDArray[np.float64]) -> int:
    """Count the distinct rankings of the models over a grid; equal rates share a rank.

    Args:
        rates: Shape (models, t), in percent.

    Raises:
        MetricError: If there is no model or no threshold.
    """
    table = np.asarray(rates, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise MetricError(
            f"no ranking in rates of shape {table.shape}",
            why="it needs at least one model and one threshold",
            hint="give one row a model, one column a threshold",
        )
    table = np.round(table, _DECIMALS)
    ranks = (table[None, :, :] > table[:, None, :]).sum(axis=1)
    return len(np.unique(ranks, axis=1).T)
