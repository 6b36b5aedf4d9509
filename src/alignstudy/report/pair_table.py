"""The differences of every pair of models, prompt by prompt, in every figure of merit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import DataError
from alignstudy.records import Axis
from alignstudy.report.panels import Panel

_RATE_NAME = {Axis.HARMLESS: "hmr", Axis.HELPFUL: "hpr"}
_FAMILY = {"hmr": "rates", "hpr": "rates", "cas": "cas"}


@dataclass(frozen=True)
class Side:
    """The differences of all pairs on one prompt set.

    Attributes:
        panel: The scores.
        by_seed: What is compared: percent or scores, shape (models, seeds, prompts).
        differences: Model minus reference, mean over seeds, shape (pairs, prompts); NaN where a
            pair lacks a score.
    """

    panel: Panel
    by_seed: NDArray[np.float64]
    differences: NDArray[np.float64]


@dataclass(frozen=True)
class PairTable:
    """All pairs in one figure of merit.

    Attributes:
        metric: "hmr", "hpr", "cas", "score_harmless" or "score_helpful".
        pairs: (reference, model).
        sides: One prompt set; both for CAS.
    """

    metric: str
    pairs: tuple[tuple[str, str], ...]
    sides: tuple[Side, ...]


def family_of(metric: str) -> str:
    """Name the comparisons among which a metric's p-values are adjusted."""
    return _FAMILY.get(metric, "scores")


def pair_tables(panels: dict[Axis, Panel], *, base: str | None) -> list[PairTable]:
    """Lay out the differences of every pair in every figure of merit that is defined.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    rates = [table for panel in panels.values() if (table := _table(panel, base, rate=True))]
    scores = [table for panel in panels.values() if (table := _table(panel, base, rate=False))]
    both = _cas(rates)
    return [*rates, *([both] if both else []), *scores]


def _table(panel: Panel, base: str | None, *, rate: bool) -> PairTable | None:
    """Give the differences of all pairs of a panel; None if it has no pair or no threshold."""
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
                f"models '{model}' and '{reference}' share no scored {panel.axis.prompts_name}"
                " prompt",
                why="models are compared prompt by prompt, by prompt id",
                mend="give all models the same prompts",
            )
    metric = _RATE_NAME[panel.axis] if rate else f"score_{panel.axis}"
    return PairTable(metric, pairs, (Side(panel, unit * by_seed, unit * np.stack(rows)),))


def _cas(rates: Sequence[PairTable]) -> PairTable | None:
    """Give the pairs that have both rates."""
    if len(rates) < len(Axis):
        return None
    first, second = rates
    both = tuple(pair for pair in first.pairs if pair in second.pairs)
    sides = [
        replace(side, differences=side.differences[[table.pairs.index(pair) for pair in both]])
        for table in rates
        for side in table.sides
    ]
    return PairTable("cas", both, tuple(sides)) if both else None
