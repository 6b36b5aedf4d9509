"""How far training seeds differ, beside what the draw of prompts alone would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.records import Axis
from alignstudy.records.robustness import SeedSpread
from alignstudy.stats.resampling.hierarchical import seed_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATE_NAME = {Axis.HARMLESS: "hmr", Axis.HELPFUL: "hpr"}

_Measured = dict[int, tuple[float, float]]


def seed_spreads(panels: dict[Axis, ScoreMatrix]) -> tuple[SeedSpread, ...]:
    """Return every metric of every model with several seeds, seed by seed.

    Args:
        panels: Scores by axis and seed.
    """
    found = []
    models = dict.fromkeys(model for panel in panels.values() for model in panel.models)
    for model in models:
        rates: list[_Measured] = []
        for axis, panel in panels.items():
            if model not in panel.models:
                continue
            row = panel.row(model)
            if panel.passed_by_seed is not None:
                rates.append(_measured(panel, 100.0 * panel.passed_by_seed[row]))
                found.append(_spread(model, _RATE_NAME[axis], rates[-1]))
            found.append(_spread(model, f"score_{axis}", _measured(panel, panel.by_seed[row])))
        if len(rates) == len(Axis):
            found.append(_spread(model, "cas", _mean_of(*rates)))
    return tuple(spread for spread in found if spread is not None)


def _measured(panel: ScoreMatrix, values: NDArray[np.float64]) -> _Measured:
    """Return each seed's mean and its standard error over prompts."""
    found = {}
    for seed, row in zip(panel.seeds, values, strict=True):
        there = ~np.isnan(row)
        if there.any():
            error = float(row[there].std(ddof=1) / np.sqrt(there.sum())) if there.sum() > 1 else 0.0
            found[seed] = (float(row[there].mean()), error)
    return found


def _mean_of(harmless: _Measured, helpful: _Measured) -> _Measured:
    return {
        seed: (
            (harmless[seed][0] + helpful[seed][0]) / 2.0,
            float(np.hypot(harmless[seed][1], helpful[seed][1])) / 2.0,
        )
        for seed in harmless
        if seed in helpful
    }


def _spread(model: str, metric: str, by_seed: _Measured) -> SeedSpread | None:
    if len(by_seed) < 2:
        return None
    errors = [error for _, error in by_seed.values()]
    return SeedSpread(
        model=model,
        metric=metric,
        by_seed={seed: value for seed, (value, _) in by_seed.items()},
        sd=seed_spread([value for value, _ in by_seed.values()]),
        within=float(np.sqrt(np.mean(np.square(errors)))),
    )
