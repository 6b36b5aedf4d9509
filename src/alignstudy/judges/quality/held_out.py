"""A judge on held-out preference pairs: accuracy, and whether it prefers length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alignstudy.judges.base import Judge, JudgeScore
from alignstudy.judges.quality.calibrate import as_judged
from alignstudy.progress import SILENT, Progress
from alignstudy.records import DECIMALS, Estimate, Pair
from alignstudy.records.evidence import LengthPreference, PairAccuracy
from alignstudy.stats.intervals import wilson

ALL = "all"
"""The subset that holds all pairs of an axis."""


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """The pairs of one axis with a judge's rounded scores; NaN where it gave none.

    Attributes:
        items: (prompt, response) as judged: chosen and rejected of each pair in turn.
        subsets: One a pair.
        scores: Shape (pairs, 2): of chosen and rejected.
    """

    axis: str
    items: tuple[tuple[str, str], ...]
    subsets: tuple[str, ...]
    scores: NDArray[np.float64]

    @cached_property
    def whole(self) -> NDArray[np.int64]:
        """Numbers of the pairs of which both responses have a score."""
        return np.flatnonzero(np.isfinite(self.scores).all(axis=1))

    @property
    def n(self) -> int:
        """Pairs of which both responses have a score."""
        return len(self.whole)

    @property
    def missing(self) -> int:
        """Responses without a score."""
        return int(np.isnan(self.scores).sum())

    @property
    def differences(self) -> NDArray[np.float64]:
        """Score of the chosen minus that of the rejected response, shape (n,)."""
        found: NDArray[np.float64] = self.scores[self.whole, 0] - self.scores[self.whole, 1]
        return found


def score_pairs(
    judge: Judge,
    axis: str,
    pairs: Sequence[Pair],
    *,
    protocol: Literal["paper", "rigorous"],
    progress: Progress = SILENT,
) -> ScoredPairs:
    """Score both responses of every pair with a judge, as it reads a model's.

    Raises:
        DataError: If a pair has no rejected response.
    """
    items = tuple(item for pair in pairs for item in as_judged(pair, protocol))
    scores = np.array(rounded(judge.score(items, progress=progress)), dtype=np.float64)
    return ScoredPairs(
        axis=axis,
        items=items,
        subsets=tuple(pair.subset for pair in pairs),
        scores=scores.reshape(-1, 2),
    )


def rounded(scores: Sequence[JudgeScore]) -> list[float]:
    """Round scores as they are exported; NaN where there is none."""
    return [math.nan if s.score is None else round(s.score, DECIMALS) + 0.0 for s in scores]


def accuracies(scored: ScoredPairs) -> list[PairAccuracy]:
    """Return the pairwise accuracy on all pairs of an axis, then on each subset that is named."""
    differences = scored.differences
    subsets = np.array([scored.subsets[at] for at in scored.whole], dtype=object)
    named = [subset for subset in dict.fromkeys(subsets.tolist()) if subset]
    parts = [(ALL, differences), *((name, differences[subsets == name]) for name in named)]
    return [
        PairAccuracy(
            axis=scored.axis,
            subset=name,
            accuracy=rate_above_zero(part),
            ties=int((part == 0).sum()),
        )
        for name, part in parts
        if part.size
    ]


def rate_above_zero(differences: NDArray[np.float64]) -> Estimate:
    """Return the share of differences above 0 in percent; a tie counts as half.

    Wilson's interval; where there are ties, Tango's for wins against losses, which is Wilson's when
    there are none.
    """
    from alignstudy.stats.effect import win_rate_interval

    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    ties = differences.size - wins - losses
    return win_rate_interval(wins, losses, ties) if ties else wilson(wins, wins + losses)


def length_preference(scored: ScoredPairs) -> LengthPreference | None:
    """Compare a judge's preference for the longer response with people's own.

    Length is in characters of the stripped response. Pairs of equal length, and those without two
    scores, enter neither share. None if no pair is left.
    """
    lengths = np.array([len(response) for _, response in scored.items]).reshape(-1, 2)
    longer = np.sign(lengths[scored.whole, 0] - lengths[scored.whole, 1])
    differ = longer != 0
    n = int(differ.sum())
    if not n:
        return None
    return LengthPreference(
        axis=scored.axis,
        judge_longer=rate_above_zero((scored.differences * longer)[differ]),
        human_longer=wilson(int((longer > 0).sum()), n),
        n=n,
    )
