"""What work costs on a machine: counts of arithmetic, of operations, of bytes and of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from alignstudy.study.cost.model_shape import BYTES, ModelShape

LOAD_VERSION = 1
"""Of the constants here: what was measured against others is not compared."""

NARROW = 32.0
"""Width at which a product reaches half of a wide one's speed."""
LAYER_OPERATIONS = 250.0
"""Small operations that a layer's forward pass takes as long as, whatever its size."""
DISENTANGLED_OPERATIONS = 700.0
"""The same of a layer with disentangled attention."""
PASS_OPERATIONS = 800.0
"""The same of what surrounds the layers: embeddings, masks, the loss or the choice of a token."""
DECODE_LAYER_OPERATIONS, DECODE_OPERATIONS = 150.0, 500.0
"""The same of a layer, and of the rest, in a pass that writes one token a row."""
STEP_OPERATIONS = 5000.0
"""The same of an optimizer step: batch, clipping, schedule, logging."""
TENSOR_OPERATIONS = 10.0
"""The same of the optimizer's work on one tensor."""
BACKWARD = 3.0
"""Forward and backward together, in forward passes (weights' gradients included)."""
BACKWARD_FROZEN = 2.0
"""The same where the weights are frozen: gradients of the layers' inputs only."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a machine does.

    Attributes:
        wide: GF/s of a product of many rows.
        narrow: GF/s of a product of eight rows.
        half: GF/s of a product of many rows in bfloat16.
        bandwidth: GB/s at which weights are streamed.
        dispatch: Seconds of a small operation.
        basis: What measured it.
    """

    wide: float
    narrow: float
    half: float
    bandwidth: float
    dispatch: float
    basis: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """A piece of work in units that no clock disturbs.

    Attributes:
        tokens: Positions that go through a model.
        flops: Floating-point operations of products of many rows.
        narrow_flops: Those of products of few rows: decoding.
        half_flops: Those of many rows in bfloat16: mixed-precision training.
        width: Width of the model's layers; narrow ones reach less of the machine's speed.
        operations: Small operations.
        bytes: Streamed from or to memory beyond what the products need.
        seconds: Of work that isn't tensors', on a machine like those it was measured on.
        memory: Peak bytes beyond the process' own.
        disk: Bytes that stay.
        working_disk: Bytes that lie on the disk meanwhile, besides.
        exact: Whether counts are of what is there rather than of a sample.
    """

    tokens: float = 0.0
    flops: float = 0.0
    narrow_flops: float = 0.0
    half_flops: float = 0.0
    width: float = 0.0
    operations: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    working_disk: float = 0.0
    exact: bool = False

    def time(self, speed: Speed) -> float:
        """Predict the wall-clock seconds on a machine."""
        share = self.width / (self.width + NARROW) if self.width else 1.0
        wide = self.flops / (1e9 * speed.wide * share)
        narrow = self.narrow_flops / (1e9 * speed.narrow * share)
        half = self.half_flops / (1e9 * speed.half * share)
        streamed = self.bytes / (1e9 * speed.bandwidth)
        return wide + narrow + half + streamed + self.operations * speed.dispatch + self.seconds

    def __add__(self, other: Load) -> Load:
        """Return both, one after the other: memory is the larger one's."""
        return Load(
            tokens=self.tokens + other.tokens,
            flops=self.flops + other.flops,
            narrow_flops=self.narrow_flops + other.narrow_flops,
            half_flops=self.half_flops + other.half_flops,
            width=max(self.width, other.width),
            operations=self.operations + other.operations,
            bytes=self.bytes + other.bytes,
            seconds=self.seconds + other.seconds,
            memory=max(self.memory, other.memory),
            disk=self.disk + other.disk,
            working_disk=max(self.working_disk, other.working_disk),
            exact=self.exact and other.exact,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the units as JSON, with the version of the constants."""
        return {"version": LOAD_VERSION, **asdict(self)}


def load_from_json(kept: Mapping[str, Any]) -> Load | None:
    """Read what `to_json` gave; None if another version wrote it."""
    if kept.get("version") != LOAD_VERSION:
        return None
    return Load(**{item.name: kept[item.name] for item in fields(Load)})


def forward(
    shape: ModelShape, *, tokens: float, context: float, passes: float, scored: float = 0.0
) -> Load:
    """Count forward passes over many rows.

    Args:
        shape: The model's.
        tokens: Positions in all passes.
        context: Tokens that each attends to.
        passes: How many passes there are.
        scored: Positions at which the vocabulary is computed.
    """
    each = DISENTANGLED_OPERATIONS if shape.span else LAYER_OPERATIONS
    maps = 10.0 if shape.span else 2.0  # maps of all pairs of tokens that attention writes
    written = shape.layers * (12.0 * shape.hidden + 3.0 * shape.ffn + maps * shape.heads * context)
    return Load(
        tokens=tokens,
        flops=shape.forward_flops(tokens=tokens, context=context, scored=scored, passes=passes),
        width=shape.hidden,
        operations=passes * (shape.layers * each + PASS_OPERATIONS),
        bytes=BYTES * (tokens * written + 3.0 * scored * shape.vocabulary * shape.writes),
        memory=shape.weight_bytes + BYTES * tokens / max(passes, 1.0) * written / shape.layers,
    )


def decode(shape: ModelShape, *, prompts: float, context: float, new: float, batch: float) -> Load:
    """Count the writing of responses, all as long as they may be.

    Args:
        shape: The model's.
        prompts: How many prompts there are.
        context: Tokens of a prompt.
        new: Tokens of a response.
        batch: Prompts at once.
    """
    batch = min(batch, max(prompts, 1.0))
    read = forward(
        shape, tokens=prompts * context, context=context, scored=prompts,
        passes=math.ceil(prompts / batch),
    )  # fmt: skip
    passes = math.ceil(prompts / batch) * new
    flops = shape.forward_flops(
        tokens=prompts * new, context=context + new / 2, scored=prompts * new
    )
    cached = 2.0 * shape.layers * shape.keys * BYTES * batch * (context + new)
    written = Load(
        tokens=prompts * new,
        narrow_flops=flops,
        width=shape.hidden,
        operations=passes * (shape.layers * DECODE_LAYER_OPERATIONS + DECODE_OPERATIONS),
        bytes=passes * cached,
        memory=shape.weight_bytes + 2 * cached,
    )
    return read + written
