"""The mean score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.metrics.scores import finite_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def mean_score(scores: ArrayLike) -> float:
    """Mean of a judge's scores, in the judge's own unit.

    Raises:
        MetricError: If there is no score or one is not finite.
    """
    return float(finite_scores(scores, metric="mean_score").mean())
