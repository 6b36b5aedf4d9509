"""Thresholds chosen on labelled pairs instead of by eye."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from alignstudy.dialogue import CUE
from alignstudy.errors import DataError, MetricError
from alignstudy.records import Pair


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold and how well it tells chosen from rejected responses.

    Attributes:
        threshold: A response passes if its score is greater.
        balanced_accuracy: Mean of the share of chosen that pass and of rejected that don't; in
            [0.5, 1], as it is the best on the same pairs.
        pair_accuracy: Share of pairs whose chosen response has the higher score, ties count half;
            in [0, 1]. It doesn't depend on the threshold; below 0.5 the judge's direction is wrong.
        n: Number of pairs.
    """

    threshold: float
    balanced_accuracy: float
    pair_accuracy: float
    n: int


def best_threshold(chosen: ArrayLike, rejected: ArrayLike) -> Calibration:
    """Choose the threshold with the largest balanced accuracy.

    All thresholds between two neighbouring scores decide alike; the middle of such a gap stands
    for it. Among equally good gaps the one whose middle is nearest to the median of all scores is
    taken, then the lower. Only where no gap is as good as letting none or all pass (a judge
    that is constant or the wrong way round) does a threshold at an end of the scores come out.

    Args:
        chosen: (n,) scores of the preferred responses.
        rejected: (n,) scores of the others, pair by pair.

    Raises:
        MetricError: If there are no pairs, lengths differ, or a score is not finite.
    """
    better, worse = (np.asarray(scores, dtype=np.float64) for scores in (chosen, rejected))
    if better.ndim != 1 or better.shape != worse.shape or better.size == 0:
        raise MetricError(
            f"no threshold fits {better.shape} chosen and {worse.shape} rejected scores",
            why="it takes one score of each a pair, and at least one pair",
            hint="give the calibration split pairs with both responses",
        )
    if not (np.isfinite(better).all() and np.isfinite(worse).all()):
        raise MetricError(
            "a calibration score is not a finite number",
            hint="leave out the pairs that the judge couldn't score, and report how many",
        )
    threshold, accuracy = threshold_between(better, worse)
    wins = (better > worse).sum() + (better == worse).sum() / 2
    return Calibration(
        threshold=threshold,
        balanced_accuracy=accuracy,
        pair_accuracy=float(wins / better.size),
        n=int(better.size),
    )


def threshold_between(good: ArrayLike, bad: ArrayLike) -> tuple[float, float]:
    """Choose the threshold with the largest balanced accuracy between two sets of scores.

    Of equally good ones that of `best_threshold`.

    Args:
        good: (n,) scores of answers that should pass, finite, at least one.
        bad: (m,) scores of those that should not.

    Returns:
        The threshold, and its balanced accuracy in [0.5, 1].
    """
    better, worse = (np.asarray(scores, dtype=np.float64) for scores in (good, bad))
    pooled = np.concatenate([better, worse])
    # One threshold a gap between sorted distinct scores, and one below and at their ends.
    values = np.unique(pooled)
    low, high = values[:-1], values[1:]
    middle = low / 2 + high / 2
    # Between neighbouring floats there is no middle; the lower one decides as the gap does.
    middle = np.where((middle >= low) & (middle < high), middle, low)
    thresholds = np.concatenate([[np.nextafter(values[0], -np.inf)], middle, values[-1:]])
    is_gap = np.ones(thresholds.size, dtype=bool)
    is_gap[[0, -1]] = False
    # Integer counts, not shares: equally good thresholds must compare as equal.
    passed = better.size - np.searchsorted(np.sort(better), thresholds, side="right")
    failed = np.searchsorted(np.sort(worse), thresholds, side="right")
    right = passed * worse.size + failed * better.size
    best = right == right.max()
    if (best & is_gap).any():
        best &= is_gap
    order = np.lexsort((thresholds, np.abs(thresholds - np.median(pooled)), ~best))
    most = 2 * better.size * worse.size
    return float(thresholds[order[0]]), float(right.max() / most)


def threshold_draws(
    chosen: ArrayLike, rejected: ArrayLike, *, draws: int, seed: int
) -> list[float]:
    """Choose the threshold again on resampled pairs: what other pairs would have given.

    The threshold is where a step function is highest, which other pairs move by more than their
    number suggests (by its cube root); theory promises the bootstrap nothing there. Percentile
    intervals of rates at these thresholds hold the rate at the best threshold in 93 to 98 % of
    simulated calibrations on 36 to 1,000 pairs (docs/statistics.md).

    Args:
        chosen: (n,) scores of the preferred responses.
        rejected: (n,) scores of the others, pair by pair.
        draws: Resamples.
        seed: Of the draws.

    Returns:
        A threshold a draw.

    Raises:
        MetricError: As `best_threshold`.

    Source: Efron and Tibshirani 1993, chapter 13; Kim and Pollard 1990, doi:10.1214/aos/1176347498,
        for the cube root.
    """
    better, worse = (np.asarray(scores, dtype=np.float64) for scores in (chosen, rejected))
    rng, n = np.random.default_rng(seed), better.size
    best_threshold(better, worse)  # refuses what can't be resampled
    drawn = (rng.integers(0, n, n) for _ in range(draws))
    return [best_threshold(better[at], worse[at]).threshold for at in drawn]


def as_judged(
    pair: Pair, protocol: Literal["paper", "rigorous"]
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return a pair as the judge reads a model's responses under a protocol.

    Args:
        pair: A preference.
        protocol: "paper": the prompt is stripped and ends without a cue, as the published study's
            prompts do; "rigorous": the prompt is taken as it is.

    Returns:
        (prompt, chosen) and (prompt, rejected), responses stripped.

    Raises:
        DataError: If the pair is a demonstration without a rejected response.
    """
    if pair.rejected is None:
        raise DataError(
            f"{pair.id}: no rejected response",
            why="a judge is calibrated and assessed on chosen against rejected responses",
            hint="name subsets of preference pairs",
        )
    prompt = pair.prompt
    if protocol == "paper":
        prompt = prompt.removesuffix(CUE).strip()
    return (prompt, pair.chosen.strip()), (prompt, pair.rejected.strip())
