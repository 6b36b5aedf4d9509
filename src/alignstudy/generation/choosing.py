"""Which token comes next: the likeliest, or a drawn one; and whether another was as near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignstudy.generation.decoding import SeededNoise

if TYPE_CHECKING:
    import torch

TOLERANCE = 2.0**-17
"""Of the largest score: two that are nearer may change places by float32's rounding alone. At
OPT-350M's shape a batch moves a row's scores by 2**-19 of the largest at most (of 20 million), and
the distance of the best two by less."""

SAFETY = 8.0
"""Times the largest move that was measured of this model, if that is more than the tolerance."""


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
        tolerance: What counts as rounding, as a share of the largest score.
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
        self.tolerance = TOLERANCE
        self._alone: tuple[int, torch.Tensor] | None = None

    def seat(self, row: int, seed: int) -> None:
        """Give a row to another text."""
        if self._noise is not None:
            self._noise.seat(row, seed)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which come into their order."""
        if self._noise is not None:
            self._noise.keep(rows)

    def bear(self, moved: float) -> None:
        """Count as rounding what company was measured to move scores by, and more."""
        self.tolerance = max(self.tolerance, SAFETY * moved)

    def compare(self, row: int, alone: torch.Tensor) -> None:
        """Measure at the next step how far the batch moves a row's scores, by those it has alone.

        Args:
            row: The row.
            alone: Its logits at the next step, (vocabulary,).
        """
        self._alone = row, alone

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores of (rows, vocabulary) logits, and note the near ties."""
        if self._alone is not None:
            row, alone = self._alone
            self.bear(float((scores[row] - alone).abs().max() / alone.abs().max()))
            self._alone = None
        scale = self.tolerance * scores.abs().amax(dim=-1, keepdim=True)
        chosen, *others = self._scores(scores, scale)
        best = chosen.topk(2, dim=-1)
        near = best.values[:, 0] - best.values[:, 1] <= scale[:, 0]
        for other in others:
            near |= other.argmax(dim=-1) != best.indices[:, 0]
        for row in near.nonzero()[:, 0].tolist():
            self.near.setdefault(row, self.steps)
        self.steps += 1
        return chosen

    def _scores(self, scores: torch.Tensor, scale: torch.Tensor) -> list[torch.Tensor]:
        """Return the scores to choose by; then those that rounding could make of them at the cut.

        Rounding moves the sum of the likeliest, and which of two nearly equal tokens comes first.
        The sum's share moves by less than the scores do.
        """
        if self._noise is None:
            return [scores]
        warmth = self._temperature or 1.0
        scores = scores / warmth
        noise = self._noise.like(scores)
        if self._top_p is None:
            return [scores + noise]
        near = scale / warmth
        moved = TOLERANCE + float(near.max())
        cuts = [_kept(scores, self._top_p)]
        for wide, share in ((True, self._top_p * (1 + moved)), (False, self._top_p * (1 - moved))):
            kept = _kept(scores, share)
            lowest = scores.masked_fill(~kept, float("inf")).amin(dim=-1, keepdim=True)
            band = (scores - lowest).abs() <= near
            swapped = (band & ~kept).any(dim=-1, keepdim=True)
            cuts.append(kept | band if wide else kept & ~(band & swapped))
        return [scores.masked_fill(~kept, float("-inf")) + noise for kept in cuts]


def _kept(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return which tokens are the likeliest that hold a share; (rows, vocabulary)."""
    from transformers import TopPLogitsWarper

    ids = scores.new_empty(0)  # the warper asks for the text, and doesn't read it
    kept: torch.Tensor = TopPLogitsWarper(min(top_p, 1.0))(ids, scores) > float("-inf")
    return kept
