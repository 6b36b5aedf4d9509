"""How often each model comes out first when prompts, and seeds, are drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.estimates import AxisEstimates
from alignstudy.records import Axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATE_NAME = {Axis.HARMLESS: "hmr", Axis.HELPFUL: "hpr"}


def best_shares(merits: Mapping[Axis, AxisEstimates]) -> dict[str, dict[str, float]]:
    """Give, for each metric and model, the share of resamples in which it is highest, in percent.

    A shared first place is divided equally. A prompt set on which models have scores for different
    prompts is left out: their resamples are not of the same draws.

    Args:
        merits: Figures and resamples by prompt set.
    """
    found = {}
    whole = {axis: part for axis, part in merits.items() if part.complete and len(part.models) > 1}
    for axis, part in whole.items():
        if part.rate_means is not None:
            found[_RATE_NAME[axis]] = _first(part.models, part.rate_means)
    sides = [part for part in whole.values() if part.rate_means is not None]
    if len(sides) == len(Axis) and sides[0].models == sides[1].models:
        means = [side.rate_means for side in sides if side.rate_means is not None]
        found["cas"] = _first(sides[0].models, (means[0] + means[1]) / 2.0)
    for axis, part in whole.items():
        if part.score_means is not None:
            found[f"score_{axis}"] = _first(part.models, part.score_means)
    return found


def _first(models: tuple[str, ...], means: NDArray[np.float64]) -> dict[str, float]:
    first = means >= means.max(axis=1, keepdims=True) - 1e-9
    shares = 100.0 * (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return {model: float(share) for model, share in zip(models, shares, strict=True)}
