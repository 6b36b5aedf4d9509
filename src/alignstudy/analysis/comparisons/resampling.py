"""Draws of prompts, training seeds and signs: what another study might have given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_table import PairTable
from alignstudy.stats.resampling.bootstrap import bootstrap_means
from alignstudy.stats.resampling.hierarchical import hierarchical_means
from alignstudy.stats.resampling.permutation import sign_flip

FLIPS_PER_DRAW = 20

_CELLS = 400_000_000
"""Signs drawn in one test at most: with many prompts, fewer patterns of them."""


@dataclass(frozen=True)
class Part:
    """Rows to resample on one prompt set.

    Attributes:
        values: Shape (rows, seeds, prompts); NaN where there is none.
        clusters: One label a prompt, below the number of prompts; None: each is alone.
    """

    values: NDArray[np.float64]
    clusters: NDArray[np.int64] | None


@dataclass(frozen=True)
class Resampler:
    """Resamples panels; one a study, so that every draw comes from one generator.

    Attributes:
        draws: Bootstrap resamples.
        rng: Source of all draws.
    """

    draws: int
    rng: np.random.Generator

    def sign_flip(
        self, contributions: NDArray[np.float64], clusters: NDArray[np.int64] | None
    ) -> list[float]:
        """Return two-sided p-values, a row of contributions each; 0 where a prompt is not paired.

        20 sign patterns a draw, fewer where there are many prompts, but at least two a draw: the
        p-values that matter for a family of dozens stay above the smallest that so many patterns
        can give.
        """
        most = max(2 * self.draws, _CELLS // max(1, contributions.shape[1]))
        flips = min(FLIPS_PER_DRAW * self.draws, most)
        found = sign_flip(contributions, rng=self.rng, flips=flips, clusters=clusters)
        return [float(p_value) for p_value in found]

    def means(self, parts: Sequence[Part]) -> list[NDArray[np.float64]]:
        """Resample the means of the rows of each part, each of shape (draws, rows).

        One seed: prompts are resampled within each part. Several: training seeds are resampled
        too, the same for all rows and parts that have the same seeds, so that what a model gains
        on one prompt set and loses on the other by its seed stays together, and so does what
        models share that were grown from one ancestor. Models whose seeds have nothing in common
        lose nothing by it: their covariance is zero in expectation.

        Args:
            parts: One a prompt set; every row has some value.
        """
        if parts[0].values.shape[1] > 1:
            return self._over_seeds(parts)
        return [
            bootstrap_means(
                part.values[:, 0], draws=self.draws, rng=self.rng, clusters=part.clusters
            )
            for part in parts
        ]

    def _over_seeds(self, parts: Sequence[Part]) -> list[NDArray[np.float64]]:
        rows = [len(part.values) for part in parts]
        columns = [part.values.shape[2] for part in parts]
        cube = np.full((sum(rows), parts[0].values.shape[1], sum(columns)), np.nan)
        labels, row, column = np.empty(sum(columns), dtype=np.int64), 0, 0
        for part in parts:
            num_rows, _, num_columns = part.values.shape
            cube[row : row + num_rows, :, column : column + num_columns] = part.values
            own = np.arange(num_columns) if part.clusters is None else part.clusters
            # Labels of two prompt sets never meet: none is as large as all prompts together.
            labels[column : column + num_columns] = own + column * sum(columns)
            row, column = row + num_rows, column + num_columns
        # Seeds are shared by the rows that have those that most rows with several have.
        there = np.asarray(~np.isnan(cube).all(axis=2))
        seeds = [tuple(row) for row in there.tolist()]
        [(most, _)] = Counter(row for row in seeds if sum(row) > 1).most_common(1) or [((), 0)]
        means = hierarchical_means(
            cube,
            draws=self.draws,
            rng=self.rng,
            clusters=labels,
            shared=tuple(row == most for row in seeds),
        )
        return np.split(means, np.cumsum(rows)[:-1], axis=1)

    def of_pairs(self, table: PairTable) -> NDArray[np.float64]:
        """Resample the difference of every pair, CAS' as a mean over sets: (draws, pairs)."""
        parts = [Part(side.differences[:, None], side.panel.clusters) for side in table.sides]
        return np.asarray(np.mean(self.means(parts), axis=0))
