"""The win rate of one model against another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alignstudy.errors import MetricError
from alignstudy.metrics.scores import finite_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def win_rate(scores: ArrayLike, reference: ArrayLike) -> float:
    """Share of prompts on which a model scores higher than a reference, in percent.

    A tie counts one half: identical responses are no evidence for either.

    Args:
        scores: The model's score a prompt, shape (n,).
        reference: The reference's scores of the same prompts in the same order, shape (n,).

    Raises:
        MetricError: If the shapes differ, there is no score, or one is not finite.
    """
    ours = finite_scores(scores, metric="win_rate")
    theirs = finite_scores(reference, metric="win_rate")
    if ours.shape != theirs.shape:
        raise MetricError(f"win_rate needs paired scores: {ours.size} against {theirs.size}")
    return float(50.0 * (1.0 + np.sign(ours - theirs).mean()))
