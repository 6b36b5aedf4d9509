"""Which token comes next: the likeliest, or a drawn one; and whether it was a near thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignstudy.generation.decoding import SeededNoise

if TYPE_CHECKING:
    import torch

TOLERANCE = 2.0**-15
"""Of the largest score: two that are nearer may change places by float32's rounding alone. The
order of summation moves a score by some 2**-20 of the largest; this is tens of times that."""


class Choice:
    """Turns a model's logits into scores, the largest of which is the next token.

    The last of the scores' processors in transformers' `generate`; it looks like a LogitsProcessor
    without deriving from it.

    Args:
        seeds: One a row, to draw tokens; None: the likeliest token is taken.
        temperature: Divides the logits.
        top_p: Draw only from the likeliest tokens that hold this share.

    Attributes:
        near: Row -> the first step (from 0) at which another token was as good but for rounding.
        steps: How many tokens were chosen so far.
    """

    def __init__(
        self,
        seeds: Sequence[int] | None = None,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> None:
        self._noise = None if seeds is None else SeededNoise(seeds)
        self._temperature, self._top_p = temperature, top_p
        self.near: dict[int, int] = {}
        self.steps = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Give the scores of (rows, vocabulary) logits, and note the near things."""
        chosen, *others = self._scores(input_ids, scores)
        best = chosen.topk(2, dim=-1)
        scale = scores.abs().amax(dim=-1)
        near = best.values[:, 0] - best.values[:, 1] <= TOLERANCE * scale
        for other in others:
            near |= other.argmax(dim=-1) != best.indices[:, 0]
        for row in near.nonzero()[:, 0].tolist():
            self.near.setdefault(row, self.steps)
        self.steps += 1
        return chosen

    def _scores(self, input_ids: torch.Tensor, scores: torch.Tensor) -> list[torch.Tensor]:
        """Give the scores to choose by, then those of a hair's breadth wider and narrower cut."""
        if self._noise is None:
            return [scores]
        from transformers import TopPLogitsWarper

        scores = scores / (self._temperature or 1.0)
        noise = self._noise.like(scores)
        if self._top_p is None:
            return [scores + noise]
        shares = [self._top_p, *(self._top_p * (1 + sign * TOLERANCE) for sign in (-1, 1))]
        return [TopPLogitsWarper(min(p, 1.0))(input_ids, scores) + noise for p in shares]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows, in their order; what was near is forgotten."""
        self.near.clear()
        if self._noise is not None:
            self._noise.keep(rows)
