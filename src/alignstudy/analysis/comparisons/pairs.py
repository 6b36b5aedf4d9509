"""Every pair of models compared, prompt by prompt, with tests that know the pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS, compared
from alignstudy.analysis.results import Comparison, Margins
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.errors import DataError
from alignstudy.metrics.axes import combined, rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis
from alignstudy.stats.multiplicity import holm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alignstudy.analysis.comparisons.resampling import Resampler

__all__ = [
    "MIN_PROMPTS",
    "PairTable",
    "AxisDifferences",
    "adjust",
    "compare_pairs",
    "pair_tables",
]


@dataclass(frozen=True)
class AxisDifferences:
    """The differences of all pairs on one prompt set.

    Attributes:
        panel: The scores.
        by_seed: What is compared: percent or scores, shape (models, seeds, prompts).
        differences: Model minus reference, mean over seeds, shape (pairs, prompts); NaN where a
            pair lacks a score.
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
    """

    metric: Metric
    pairs: tuple[tuple[str, str], ...]
    sides: tuple[AxisDifferences, ...]


def compare_pairs(
    panels: dict[str, ScoreMatrix],
    *,
    axes: Sequence[Axis],
    base: str | None,
    margins: Margins,
    resampler: Resampler,
) -> tuple[Comparison, ...]:
    """Compare every pair of models in the rates, their mean and the mean scores.

    Rates of one seed: McNemar's exact test with Tango's interval. With clusters of near-duplicate
    prompts, or several seeds: per-prompt means over seeds by a sign-flip test over clusters, with
    an interval that resamples clusters, and seeds. CAS and scores are always tested so. P-values
    are Holm-adjusted within three families: the rates of all pairs, CAS of all pairs, the mean
    scores of all pairs.

    Args:
        panels: Scores by axis.
        axes: Those of the study: CAS rests on all of them.
        base: The reference of the pairs that it is in; else the model that stands first.
        margins: Within which distance two models count as alike.
        resampler: Draws prompts, seeds and signs.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    found: list[Comparison] = []
    for table in pair_tables(panels, axes=axes, base=base):
        found += compared(table, margin=_margin(table, base, margins), resampler=resampler)
    return adjust(found)


def pair_tables(
    panels: dict[str, ScoreMatrix], *, axes: Sequence[Axis], base: str | None
) -> list[PairTable]:
    """Lay out the differences of every pair in every metric that is defined.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    rates = [table for panel in panels.values() if (table := _table(panel, base, rate=True))]
    scores = [table for panel in panels.values() if (table := _table(panel, base, rate=False))]
    whole = _mean_of_rates(rates, axes)
    return [*rates, *([whole] if whole else []), *scores]


def _table(panel: ScoreMatrix, base: str | None, *, rate: bool) -> PairTable | None:
    """Return the differences of all pairs of a panel; None if it has no pair or no threshold."""
    values = panel.passed if rate else panel.scores
    by_seed = panel.passed_by_seed if rate else panel.by_seed
    pairs = tuple((b, a) if b == base else (a, b) for a, b in combinations(panel.known(), 2))
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
        metric, pairs, (AxisDifferences(panel, unit * by_seed, unit * np.stack(rows)),)
    )


def _mean_of_rates(rates: Sequence[PairTable], axes: Sequence[Axis]) -> PairTable | None:
    """Return the pairs that have the rates of all axes."""
    if len(rates) < len(axes) or len(axes) < 2:
        return None
    first, *others = rates
    whole = tuple(pair for pair in first.pairs if all(pair in other.pairs for other in others))
    sides = [
        replace(side, differences=side.differences[[table.pairs.index(pair) for pair in whole]])
        for table in rates
        for side in table.sides
    ]
    return PairTable(combined(axes), whole, tuple(sides)) if whole else None


def _margin(table: PairTable, base: str | None, margins: Margins) -> float | None:
    """Return the margin in the metric's unit; None where all scores of the base are alike."""
    if table.metric.is_rate:
        return margins.rates
    if margins.scores is not None:
        return margins.scores
    panel = table.sides[0].panel
    known = panel.known()
    scores = panel.by_seed[panel.row(base if base in known and base else known[0])]
    scores = scores[~np.isnan(scores)]
    spread = float(scores.std(ddof=1)) if scores.size > 1 else 0.0
    return margins.score_sds * spread or None


def adjust(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Fill in Holm-adjusted p-values, family by family; comparisons without a test stay out."""
    families: dict[str, list[int]] = {}
    for index, comparison in enumerate(comparisons):
        if comparison.p_value is not None:
            families.setdefault(comparison.family, []).append(index)
    adjusted = list(comparisons)
    for members in families.values():
        p_values = [comparisons[index].p_value or 0.0 for index in members]
        for index, p_holm in zip(members, holm(p_values), strict=True):
            adjusted[index] = replace(adjusted[index], p_holm=p_holm)
    return tuple(adjusted)
