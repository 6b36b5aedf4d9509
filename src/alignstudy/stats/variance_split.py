"""What a figure's variance is made of: prompts, training seeds, samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError

PROMPTS, SEEDS, BOTH, SAMPLES = "prompts", "seeds", "seeds by prompt", "samples"


def variance_parts(values: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Split the variance of one response's value by where it comes from.

    Prompts and seeds are crossed, samples lie within: the mean squares of that design are set equal
    to what is expected of them. With one seed, "prompts" holds what training does to some prompts;
    with one sample, "seeds by prompt" holds what sampling does.

    Args:
        values: Shape (seeds, samples, prompts), complete, at least two prompts.

    Returns:
        Source -> (its variance, 0 at least; the squared standard error that it gives the mean of
        all values). Sources that these data can't tell apart are left out.

    Raises:
        MetricError: If there are fewer than two prompts, or a gap.

    Source: Searle, Casella and McCulloch 1992, Variance Components, section 4.3; for evaluations
        Miller 2024, arXiv:2411.00640.
    """
    seeds, samples, prompts = values.shape
    if prompts < 2 or not np.isfinite(values).all():
        raise MetricError(
            f"no split of the variance of a table of shape {values.shape}",
            why="it needs a value everywhere, and two prompts or more",
            hint="leave out what has no score",
        )
    cells = values.mean(axis=1)
    within = float(values.var(axis=1, ddof=1).mean()) if samples > 1 else 0.0
    by_prompt = float(cells.mean(axis=0).var(ddof=1))
    found = {}
    if seeds > 1:
        rest = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
        cell = float((rest**2).sum()) / ((seeds - 1) * (prompts - 1))
        found[PROMPTS] = by_prompt - cell / seeds
        found[SEEDS] = float(cells.mean(axis=1).var(ddof=1)) - cell / prompts
        found[BOTH] = cell - within / samples
    else:
        found[PROMPTS] = by_prompt - within / samples
    if samples > 1:
        found[SAMPLES] = within
    sizes = {
        PROMPTS: prompts,
        SEEDS: seeds,
        BOTH: seeds * prompts,
        SAMPLES: seeds * samples * prompts,
    }
    parts = {name: max(0.0, variance) for name, variance in found.items()}
    return {name: (variance, variance / sizes[name]) for name, variance in parts.items()}
