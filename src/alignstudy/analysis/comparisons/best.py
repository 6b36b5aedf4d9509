"""How often each model comes out first when prompts, and seeds, are drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.estimates import AxisEstimates
from alignstudy.metrics.figures import combined, rate_of, score_of
from alignstudy.records import Axis

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_shares(
    merits: Mapping[str, AxisEstimates], axes: Sequence[Axis]
) -> dict[str, dict[str, float]]:
    """Return, by metric and model, the share of resamples in which it is highest, in percent.

    A shared first place is divided equally. A prompt set on which models have scores for different
    prompts is left out: their resamples are not of the same draws.

    Args:
        merits: Figures and resamples by prompt set.
        axes: Those of the study.
    """
    found, means = {}, []
    whole = [
        (axis, part)
        for axis in axes
        if (part := merits.get(axis.name)) and part.complete and len(part.models) > 1
    ]
    for axis, part in whole:
        if part.rate_means is not None:
            means.append((part.models, part.rate_means))
            found[rate_of(axis).name] = _first(part.models, part.rate_means)
    if len(means) == len(axes) > 1 and len({models for models, _ in means}) == 1:
        drawn = np.asarray(sum(rates for _, rates in means) / len(means))
        found[combined(axes).name] = _first(means[0][0], drawn)
    for axis, part in whole:
        if part.score_means is not None:
            found[score_of(axis).name] = _first(part.models, part.score_means)
    return found


def _first(models: tuple[str, ...], means: NDArray[np.float64]) -> dict[str, float]:
    first = means >= means.max(axis=1, keepdims=True) - 1e-9
    shares = 100.0 * (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return {model: float(share) for model, share in zip(models, shares, strict=True)}
