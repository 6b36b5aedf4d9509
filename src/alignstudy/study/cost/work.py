"""What stages put through models: the one place where tokens become FLOPs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alignstudy.study.cost.model_shape import ModelShape

BACKWARD = 3.0
"""Forward and backward together, in forward passes (weights' gradients included)."""
BACKWARD_FROZEN = 2.0
"""The same where the weights are frozen: gradients of the layers' inputs only."""
TOKEN_BYTES = 5
"""On the disk, a token of a text."""
ROWS_AT_ONCE, LONG_TEXT = 64, 256
"""Texts that go through a model together, and tokens of a long one, where no setting says it."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Forward passes of one model.

    Attributes:
        shape: The model's; None where its config.json doesn't state it: FLOPs are not known.
        tokens: Positions that go through the layers.
        context: Tokens that each of them attends to.
        scored: Positions at which the vocabulary is computed.
        passes: How many passes these are.
        times: Forward passes that one of them takes as much arithmetic as: 3 with backward.
        of: What `times` is divided by, where only a share of the rows goes through.
    """

    shape: ModelShape | None
    tokens: float
    context: float
    scored: float = 0.0
    passes: float = 0.0
    times: float = 1.0
    of: float = 1.0

    @property
    def flops(self) -> float | None:
        """Floating-point operations."""
        if self.shape is None:
            return None
        ahead = self.shape.forward_flops(
            tokens=self.tokens, context=self.context, scored=self.scored, passes=self.passes
        )
        return self.times * ahead / self.of


def total_flops(found: Iterable[Passes]) -> float | None:
    """Add up floating-point operations; None where nothing is counted or a shape isn't known."""
    counted = [each.flops for each in found]
    known = [flops for flops in counted if flops is not None]
    return sum(known) if known and len(known) == len(counted) else None
