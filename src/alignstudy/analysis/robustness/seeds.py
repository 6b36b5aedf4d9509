"""How far training seeds differ, beside what the draw of prompts alone would do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.metrics.figures import combined, rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis
from alignstudy.records.robustness import SeedSpread
from alignstudy.stats.resampling.hierarchical import seed_spread

_Measured = dict[int, tuple[float, float]]


def seed_spreads(panels: dict[str, ScoreMatrix], axes: Sequence[Axis]) -> tuple[SeedSpread, ...]:
    """Return every metric of every model with several seeds, seed by seed.

    Args:
        panels: Scores by axis and seed.
        axes: Those of the study: CAS rests on all of them.
    """
    found = []
    models = dict.fromkeys(model for panel in panels.values() for model in panel.models)
    for model in models:
        rates: list[_Measured] = []
        for panel in panels.values():
            if model not in panel.models:
                continue
            row = panel.row(model)
            if panel.passed_by_seed is not None:
                rate = rate_of(panel.axis)
                rates.append(_measured(rate, panel, panel.passed_by_seed[row], unit=100.0))
                found.append(_spread(model, rate, rates[-1]))
            score = score_of(panel.axis)
            found.append(_spread(model, score, _measured(score, panel, panel.by_seed[row])))
        if len(rates) == len(axes) > 1:
            whole = combined(axes)
            means = {
                seed: (
                    whole.of([rate[seed][0] for rate in rates]),
                    math.hypot(*(rate[seed][1] for rate in rates)) / len(rates),
                )
                for seed in rates[0]
                if all(seed in rate for rate in rates)
            }
            found.append(_spread(model, whole, means))
    return tuple(spread for spread in found if spread is not None)


def _measured(
    metric: Metric, panel: ScoreMatrix, values: NDArray[np.float64], *, unit: float = 1.0
) -> _Measured:
    """Return each seed's figure and its standard error over prompts."""
    found = {}
    for seed, row in zip(panel.seeds, values, strict=True):
        there = ~np.isnan(row)
        if there.any():
            spread = float(row[there].std(ddof=1)) if there.sum() > 1 else 0.0
            found[seed] = (metric.of(row[there]), unit * spread / float(np.sqrt(there.sum())))
    return found


def _spread(model: str, metric: Metric, by_seed: _Measured) -> SeedSpread | None:
    if len(by_seed) < 2:
        return None
    errors = [error for _, error in by_seed.values()]
    return SeedSpread(
        model=model,
        metric=metric.name,
        by_seed={seed: value for seed, (value, _) in by_seed.items()},
        sd=seed_spread([value for value, _ in by_seed.values()]),
        within=float(np.sqrt(np.mean(np.square(errors)))),
    )
