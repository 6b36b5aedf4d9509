"""The differences of every pair of models, prompt by prompt, in every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.results import Lineage
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.errors import DataError
from alignstudy.metrics.figures import combined, rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis
from alignstudy.stats.seed_tables import complete
from alignstudy.stats.seeds import difference_spread
from alignstudy.stats.spread import Spread


@dataclass(frozen=True)
class AxisDifferences:
    """The differences of all pairs on one prompt set.

    Attributes:
        panel: The scores.
        by_seed: What is compared: percent or scores, shape (models, seeds, prompts).
        differences: Model minus reference, mean over samples and seeds, shape (pairs, prompts); NaN
            where a pair lacks a score.
    """

    panel: ScoreMatrix
    by_seed: NDArray[np.float64]
    differences: NDArray[np.float64]


@dataclass(frozen=True)
class PairTable:
    """All pairs in one metric.

    Attributes:
        pairs: (reference, model).
        sides: One prompt set; all for CAS.
        lineages: Model -> what it grew from; {}: not known.
    """

    metric: Metric
    pairs: tuple[tuple[str, str], ...]
    sides: tuple[AxisDifferences, ...]
    lineages: Mapping[str, Lineage]

    @property
    def several_seeds(self) -> bool:
        """Whether any model was trained more than once."""
        return any(side.panel.several_seeds for side in self.sides)

    @property
    def has_shares(self) -> bool:
        """Whether it is of rates, and a prompt may pass in part: with some seeds or samples."""
        return self.metric.is_rate and any(side.panel.has_shares for side in self.sides)

    def spread(self, index: int) -> Spread | None:
        """Return what a pair's difference rests on, over seeds and prompts, in the metric's unit.

        None where no prompt has a score in every seed.
        """
        unit = 100.0 if self.metric.is_rate else 1.0
        reference, model = self.pairs[index]
        sides = [
            [side.by_seed[side.panel.row(name)] / unit for name in (model, reference)]
            for side in self.sides
        ]
        tables = complete(sides, [side.panel.cluster_of for side in self.sides])
        if not all(table.size for side in tables for table in side):
            return None
        pairs = [(ours, theirs) for ours, theirs in tables]
        paired = self._began_alike(reference, model) and self._same_seeds(sides)
        return difference_spread(pairs, rate=self.metric.is_rate, paired=paired).in_unit(unit)

    @staticmethod
    def _same_seeds(sides: Sequence[Sequence[NDArray[np.float64]]]) -> bool:
        """Whether two models have scores of the same seeds on every axis."""
        ours, theirs = (
            [~np.isnan(tables[which]).all(axis=1) for tables in sides] for which in (0, 1)
        )
        return bool(np.array_equal(ours, theirs))

    def _began_alike(self, one: str, other: str) -> bool:
        """Whether a training had a part in both models, seed by seed."""
        first, second = (
            {chain[0] for chain in self.lineages.get(name, ())} for name in (one, other)
        )
        return bool(first & second)

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        """Cluster of each prompt, one set after the other; None where every prompt is alone."""
        if all(side.panel.clusters is None for side in self.sides):
            return None
        found: list[NDArray[np.int64]] = []
        for side in self.sides:
            offset = int(found[-1].max()) + 1 if found else 0
            found.append(side.panel.cluster_of + offset)
        return np.concatenate(found)


def pair_tables(
    panels: dict[str, ScoreMatrix],
    *,
    axes: Sequence[Axis],
    base: str | None,
    lineages: Mapping[str, Lineage],
) -> list[PairTable]:
    """Lay out the differences of every pair in every metric that is defined.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    rates, scores = (
        [table for panel in panels.values() if (table := _table(panel, base, lineages, rate=rate))]
        for rate in (True, False)
    )
    if len(rates) < len(axes) or len(axes) < 2:
        return [*rates, *scores]
    # CAS is of the pairs that have the rates of all axes.
    first, *others = rates
    whole = tuple(pair for pair in first.pairs if all(pair in other.pairs for other in others))
    sides = tuple(
        replace(side, differences=side.differences[[table.pairs.index(pair) for pair in whole]])
        for table in rates
        for side in table.sides
    )
    return [
        *rates,
        *([PairTable(combined(axes), whole, sides, lineages)] if whole else []),
        *scores,
    ]


def _table(
    panel: ScoreMatrix,
    base: str | None,
    lineages: Mapping[str, Lineage],
    *,
    rate: bool,
) -> PairTable | None:
    """Return the differences of all pairs of a panel; None if it has no pair or no threshold."""
    values = panel.passed if rate else panel.scores
    by_seed = panel.passed_by_seed if rate else panel.by_seed
    pairs = tuple(panel.pairs(base))
    if values is None or by_seed is None or not pairs:
        return None
    unit = 100.0 if rate else 1.0
    rows = [values[panel.row(model)] - values[panel.row(reference)] for reference, model in pairs]
    for (reference, model), row in zip(pairs, rows, strict=True):
        if np.isnan(row).all():
            raise DataError(
                f"models '{model}' and '{reference}' share no scored {panel.axis.prompts} prompt",
                why="models are compared prompt by prompt, by prompt id",
                hint="give all models the same prompts",
            )
    metric = rate_of(panel.axis) if rate else score_of(panel.axis)
    return PairTable(
        metric, pairs, (AxisDifferences(panel, unit * by_seed, unit * np.stack(rows)),), lineages
    )
