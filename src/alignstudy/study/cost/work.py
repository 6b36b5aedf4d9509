"""What stages put through models: the one place where tokens become FLOPs, and sizes bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alignstudy.methods.base import LoRASettings
from alignstudy.methods.loop.checkpoints import KEPT
from alignstudy.study.cost.model_shape import ModelShape

BYTES = 4
"""Of a float32."""
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


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What decides how much memory and disk a stage takes at most, in float32.

    Attributes:
        shape: Of the model that it computes with; None: it computes with none.
        rows: Rows that go through the model together.
        length: Tokens of the longest row.
        trained: Weights that learn: each has a gradient and AdamW's two moments.
        held: Weights of a second model, which only speaks.
        saved: Weights that it writes.
        text: Bytes of the other files that it writes.
    """

    shape: ModelShape | None = None
    rows: int = 1
    length: int = 0
    trained: float = 0.0
    held: float = 0.0
    saved: float = 0.0
    text: float = 1e6

    @property
    def memory(self) -> float:
        """Peak bytes of tensors: weights, gradients and moments, activations, logits.

        A layer keeps some 16 vectors of its width and 2 of its feed-forward's for a position. A
        backward pass needs those of all layers, two maps of all pairs of positions a head, and
        three times the vocabulary's logits; without one, one layer's go with the keys and values of
        all, and the logits of one position a row.
        """
        if self.shape is None:
            return 0.0
        shape, positions = self.shape, self.rows * self.length
        layer = 16 * shape.hidden + 2 * shape.ffn
        if self.trained:
            layer += 2 * shape.heads * self.length
            kept, scored = shape.layers * layer, 3 * positions
        else:
            kept, scored = layer + 2 * shape.layers * shape.keys, self.rows
        logits = scored * shape.vocabulary if shape.writes else 0
        weights = shape.parameters + self.held + 3 * self.trained
        return BYTES * (weights + positions * kept + logits)

    @property
    def disk(self) -> float:
        """Bytes that stay."""
        return BYTES * self.saved + self.text

    @property
    def working_disk(self) -> float:
        """Bytes of checkpoints that lie on the disk meanwhile: weights and moments."""
        return (KEPT + 1) * 3 * BYTES * self.trained


def trained_weights(shape: ModelShape, lora: LoRASettings | None) -> float:
    """Count the weights that learn: all of them, or an adapter's two narrow matrices a layer."""
    if lora is None:
        return float(shape.parameters)
    wide = {"fc1", "fc2", "up_proj", "down_proj", "gate_proj"}
    ends = {name: shape.ffn for name in wide} | {"k_proj": shape.keys, "v_proj": shape.keys}
    sizes = (shape.hidden + ends.get(name, shape.hidden) for name in lora.target_modules)
    return float(shape.layers * lora.r * sum(sizes))
