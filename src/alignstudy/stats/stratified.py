"""A random draw from strata, each unit with a known chance above nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError


def stratified_draw(
    strata: Sequence[Hashable], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw units without replacement, half of them in proportion, half alike from each stratum.

    A rare stratum is so drawn more often than it comes, and never left out.

    Args:
        strata: The stratum of each unit, shape (N,).
        n: Units to draw, at least one a stratum; more than N are N.
        rng: Source of the draw.

    Returns:
        Numbers of the drawn units, and how many units each stands for, shape (n,); those sum to N.

    Raises:
        MetricError: If there are fewer draws than strata.
    """
    places: dict[Hashable, list[int]] = {}
    for at, stratum in enumerate(strata):
        places.setdefault(stratum, []).append(at)
    size, n = len(strata), min(n, len(strata))
    if n < len(places) or not n:
        raise MetricError(
            f"{n} draws from {len(places)} strata",
            why="a stratum that is never drawn from would be left out of every estimate",
            hint="draw more",
        )
    there = np.array([len(units) for units in places.values()])
    wanted = n * (there / size + 1.0 / there.size) / 2.0
    sizes = np.clip(np.floor(wanted).astype(np.int64), 1, there)
    while sizes.sum() != n:
        step = 1 if sizes.sum() < n else -1
        free = sizes < there if step > 0 else sizes > 1
        sizes[np.argmax(np.where(free, step * (wanted - sizes), -np.inf))] += step
    drawn = [
        rng.choice(units, many, replace=False)
        for units, many in zip(places.values(), sizes, strict=True)
    ]
    stands_for = np.repeat(there / sizes, sizes)
    return np.concatenate(drawn).astype(np.int64), np.asarray(stands_for, dtype=np.float64)
