"""Bootstrap over training seeds and prompts: what another study of this kind would have given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.stats.resampling.bootstrap import resampled_sums
from alignstudy.stats.resampling.clusters import checked_labels, sums_by_cluster


def hierarchical_means(
    values: NDArray[np.float64],
    *,
    draws: int,
    rng: np.random.Generator,
    clusters: NDArray[np.int64] | None = None,
    shared: tuple[bool, ...] | None = None,
) -> NDArray[np.float64]:
    """Means over training seeds of means over prompts, with both resampled.

    All rows and seeds of a draw have the same prompts. Of a row's s seeds, s - 1 are drawn with
    replacement: that gives the unbiased variance between seeds, which s draws would understate by
    a third where there are three. Simulated 95 % intervals cover 94 to 98 %, but 88 % with two and
    90 % with three seeds that differ by more than twice the prompts' standard error. A row with
    one seed is resampled over prompts only: its interval says nothing of training noise.

    Args:
        values: Shape (k, seeds, n); NaN where a row has no such seed or no score for a prompt.
        draws: Number of resamples.
        rng: Source of the draws.
        clusters: One label a prompt, shape (n,); a cluster is drawn whole.
        shared: Rows marked True draw the same seeds as each other (models grown from one trained
            ancestor); they must have the same seeds. None: every row draws its own.

    Returns:
        Resampled means, shape (draws, k). A draw that holds no prompt of a row's seed takes that
        seed's own mean.

    Raises:
        MetricError: If the shape is another, a row has no value at all, `draws` is below 1, the
            labels don't fit, or rows that share seeds have different ones.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8; Rao and
        Wu 1988, doi:10.1080/01621459.1988.10478591, for s - 1 draws.
    """
    cube = np.asarray(values, dtype=np.float64)
    if cube.ndim != 3 or draws < 1 or np.isnan(cube).all(axis=(1, 2)).any():
        raise MetricError(
            f"no bootstrap over seeds and prompts of an array of shape {cube.shape}",
            why="it needs (quantities, seeds, prompts), a value in every row, and a draw",
            hint="leave out what has no score, and ask for at least one draw",
        )
    num_rows, num_seeds, num_prompts = cube.shape
    there: NDArray[np.bool_] = np.logical_not(np.isnan(cube).all(axis=2))
    means = _prompt_means(
        cube.reshape(num_rows * num_seeds, num_prompts)[there.ravel()], clusters, draws, rng
    )
    by_seed = np.zeros((draws, num_rows * num_seeds))
    by_seed[:, there.ravel()] = means
    weights = _seed_weights(there, shared, draws, rng)
    return np.asarray((by_seed.reshape(draws, num_rows, num_seeds) * weights).sum(axis=2))


def _prompt_means(
    rows: NDArray[np.float64],
    clusters: NDArray[np.int64] | None,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Resampled means of rows that may lack some prompts, all over the same prompts."""
    used = ~np.isnan(rows).all(axis=0)
    kept = rows[:, used]
    stacked = np.vstack([np.nan_to_num(kept), ~np.isnan(kept)])
    if clusters is not None:
        stacked, _ = sums_by_cluster(stacked, checked_labels(clusters, used.size)[used])
    drawn = resampled_sums(stacked, draws=draws, rng=rng)
    sums, counts = drawn[:, : len(rows)], drawn[:, len(rows) :]
    own = np.broadcast_to(np.nanmean(rows, axis=1), sums.shape)
    return np.asarray(np.divide(sums, counts, out=own.copy(), where=counts > 0.0))


def _seed_weights(
    there: NDArray[np.bool_],
    shared: tuple[bool, ...] | None,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Weights of each row's seeds in each draw, shape (draws, k, seeds); they sum to 1."""
    marks = (False,) * len(there) if shared is None else shared
    together = there[np.asarray(marks, dtype=bool)] if len(marks) == len(there) else None
    if together is None or (len(together) and (together != together[0]).any()):
        raise MetricError(
            "rows that share their seeds must have the same ones",
            why="a draw takes the same training seeds for all of them",
            hint="mark one flag a row, and only rows with the same seeds",
        )
    weights = np.empty((draws, *there.shape))
    common = _draw_seeds(together[0], draws, rng) if len(together) else None
    for row, seeds in enumerate(there):
        is_common = common is not None and marks[row]
        weights[:, row] = common if is_common else _draw_seeds(seeds, draws, rng)
    return weights


def _draw_seeds(
    there: NDArray[np.bool_], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Shares of s - 1 draws that fall on each of s seeds; a single seed has weight 1."""
    num_seeds = int(there.sum())
    weights = np.zeros((draws, there.size))
    size = max(1, num_seeds - 1)
    weights[:, there] = rng.multinomial(size, np.full(num_seeds, 1.0 / num_seeds), draws) / size
    return weights


def seed_spread(by_seed: Sequence[float]) -> float:
    """Standard deviation of a metric between training seeds (n - 1).

    Args:
        by_seed: One value a seed, at least two, in any unit.

    Raises:
        MetricError: If there are fewer than two, or one is not finite.
    """
    values = np.asarray(by_seed, dtype=np.float64)
    if values.size < 2 or not np.isfinite(values).all():
        raise MetricError(
            f"no spread between {values.size} training seeds",
            why="a standard deviation needs two or more finite values",
            hint="train with several `seeds:`",
        )
    return float(values.std(ddof=1))
