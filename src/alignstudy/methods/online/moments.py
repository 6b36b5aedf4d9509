"""Mean and spread of all scores so far, and what PPO-max makes of a score with them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class RunningMoments:
    """Of all numbers seen, without keeping them.

    Every field is a float: in JSON it is read back to the bit.

    Attributes:
        count: How many there were.
        mean: Of them.
        squares: Sum of their squared distances from it.
    """

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, numbers: Tensor) -> None:
        """Take in more numbers, of any shape; NaN is none.

        Source: Chan, Golub and LeVeque 1979, equation 2.1. Computed in float64.
        """
        known = numbers.detach().double().cpu()
        known = known[~known.isnan()]
        if not len(known):
            return
        mean, more = float(known.mean()), float(len(known))
        away, count = mean - self.mean, self.count + more
        self.squares += float(((known - mean) ** 2).sum()) + away**2 * self.count * more / count
        self.mean += away * more / count
        self.count = count

    @property
    def std(self) -> float:
        """Sample standard deviation; 1, which changes nothing, while all numbers are the same."""
        spread = sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0
        return spread or 1.0


def rescaled(
    scores: Tensor, moments: RunningMoments, *, centre: bool, clip: float | None
) -> Tensor:
    """Return scores in running standard deviations, as PPO-max feeds them to PPO.

    Source: arXiv 2307.04964, equation 18; MOSS-RLHF's `make_experiences`, which divides by
    the spread of all scores so far, those at hand taken in first.

    Args:
        scores: Of any shape.
        moments: Of all scores so far.
        centre: Whether to take their mean off first ("reward normalization"; else "scaling").
        clip: Largest distance from 0 that is left; None: any.
    """
    found = (scores - moments.mean if centre else scores) / moments.std
    return found if clip is None else found.clamp(-clip, clip)
