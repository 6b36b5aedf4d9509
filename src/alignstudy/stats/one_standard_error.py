"""A choice among trials by the one-standard-error rule, on paired scores of several axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What one trial is worth, in standard deviations of scores.

    Attributes:
        score: Mean over axes of its mean score.
        gain: Its score less the first trial's.
        gain_se: Standard error of that, of paired differences.
    """

    score: float
    gain: float
    gain_se: float


def standings(scores: Mapping[str, NDArray[np.float64]]) -> tuple[Standing, ...]:
    """Compare trials with the first of them.

    An axis' scores are divided by their standard deviation over all trials and prompts, so that no
    axis counts more for its judge's unit; where all scores are the same, trials differ in nothing.

    Args:
        scores: Axis -> (trials, prompts) scores; the prompts of all axes are independent.

    Raises:
        MetricError: If an axis has fewer than two prompts, or a score isn't finite.
    """
    values, variances = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for axis, given in scores.items():
        if given.shape[1] < 2 or not np.isfinite(given).all():
            raise MetricError(
                f"trials can't be compared on {axis} prompts",
                why=f"{given.shape[1]} prompts have a finite score of every trial; it takes two",
                hint="take more validation pairs, or another judge (`tune.by`)",
            )
        scaled = given / (given.std() if np.ptp(given) > 0 else 1.0)
        against = scaled - scaled[0]
        values.append(scaled.mean(axis=1))
        variances.append(against.var(axis=1, ddof=1) / given.shape[1])
    means = np.mean(values, axis=0)
    errors = np.sqrt(np.sum(variances, axis=0)) / len(values)
    return tuple(
        Standing(score=float(mean), gain=float(mean - means[0]), gain_se=float(error))
        for mean, error in zip(means, errors, strict=True)
    )


def best_and_chosen(found: Sequence[Standing]) -> tuple[int, int]:
    """Return the best trial and the one that is taken, counted from 0.

    The first stays unless the best beats it by more than one standard error of their paired
    difference; of equals the earlier one is the best.

    Source: Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.
    """
    best = max(range(len(found)), key=lambda at: (found[at].score, -at))
    return best, best if found[best].gain > found[best].gain_se else 0
