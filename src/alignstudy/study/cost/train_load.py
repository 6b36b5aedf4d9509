"""The work of a training, from its settings and the lengths of its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from alignstudy.methods import METHODS
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.loop.checkpoints import KEPT
from alignstudy.study.cost.counting import Part
from alignstudy.study.cost.model_shape import BYTES, ModelShape
from alignstudy.study.cost.rulers import Ruler
from alignstudy.study.cost.workload import (
    BACKWARD,
    BACKWARD_FROZEN,
    STEP_OPERATIONS,
    TENSOR_OPERATIONS,
    Load,
    forward,
)
from alignstudy.study.graph.divergence import PREFERENCE_METHODS

OPTIMIZER_BYTES = 60.0
"""Read and written a trained weight and step by AdamW: more than the 28 of weight, gradient and
two moments in float32, which go through memory several times."""
TENSORS_A_LAYER = 16
PADDED, PADDED_PAIRS, PADDED_SORTED = 1.17, 1.4, 1.03
"""Positions computed for one that is real: of language models, of judges, and of either where
batches are of rows of like length."""
PIECES = 1.5
"""Passes for one micro-batch that is asked for: rows of like length go through together."""
ONE_BY_ONE = 2.0
"""Of a pair that goes through the reference by itself, in the operations of a pass."""
SECONDS_TO_START = 3.0
"""Of a training whatever its size: rows encoded, weights read, guards run, weights hashed."""


@dataclass(frozen=True, kw_only=True)
class RowSizes:
    """What a mean row costs, in positions.

    Attributes:
        processed: Positions that are trained on.
        scored: Positions at which the vocabulary is computed.
        context: Tokens that a position attends to, at most: the mean length of a branch.
        referenced: Positions that go through the reference; 0 where there is none.
    """

    processed: float
    scored: float
    context: float
    referenced: float


def row_sizes(settings: TrainingSettings, part: Part, ruler: Ruler) -> RowSizes:
    """Measure a mean row as a method reads it: of a pair, a shared prompt once."""
    prompts, chosen, rejected = (ruler.lengths(texts) for texts in zip(*part.sample, strict=True))
    method = METHODS.load(settings.method)
    most = settings.max_length
    if not method.needs_rejected:
        whole = [min(most, a + b + 2) for a, b in zip(prompts, chosen, strict=True)]
        learnt = [min(most, b + 1) for b in chosen]
        everything = not method.needs_pairs or getattr(settings, "loss_on", "") == "dialogue"
        scored = whole if everything else learnt
        return RowSizes(
            processed=_mean(whole), scored=_mean(scored), context=_mean(whole), referenced=0.0
        )
    first = [min(most, a + b + 2) for a, b in zip(prompts, chosen, strict=True)]
    second = [min(most, a + b + 2) for a, b in zip(prompts, rejected, strict=True)]
    both = [a + b for a, b in zip(first, second, strict=True)]
    if method.trains == "classifier":
        return RowSizes(processed=_mean(both), scored=0.0, context=_mean(both) / 2, referenced=0.0)
    shared = [n - min(p + 1, most) for n, p in zip(both, prompts, strict=True)]
    scored = [max(0.0, n - 2 * (p + 1)) for n, p in zip(both, prompts, strict=True)]
    refers = settings.method in PREFERENCE_METHODS
    alone = settings.dropout == "keep" or getattr(settings, "prefix_sharing", "off") == "off"
    processed = _mean(both if alone else shared)
    return RowSizes(
        processed=processed,
        scored=_mean(scored),
        context=_mean(both) / 2,
        referenced=processed if refers else 0.0,
    )


def train_load(
    settings: TrainingSettings,
    shape: ModelShape,
    part: Part,
    sizes: RowSizes,
    *,
    refers: bool,
    device: str,
) -> Load:
    """Count one training.

    Args:
        settings: Of its method.
        shape: Of its model.
        part: Its rows.
        sizes: Of a mean row.
        refers: Whether the reference's pass over the rows is still to be made.
        device: "cpu" or "cuda": a GPU takes rows together, and bfloat16 if it may choose.
    """
    update = settings.effective_batch_size
    steps = settings.max_steps or math.ceil(part.rows * settings.num_train_epochs / update)
    seen = min(steps * update, part.rows * settings.num_train_epochs)
    if settings.max_steps is not None:
        seen = steps * update
    at_once = settings.per_device_train_batch_size
    micro = update if at_once == "auto" else min(at_once, update)
    sorted_rows = settings.group_by_length
    passes = steps * math.ceil(update / micro) * (1.0 if sorted_rows or device != "cpu" else PIECES)
    padded = PADDED if shape.writes else PADDED_PAIRS
    padded = PADDED_SORTED if sorted_rows else padded
    ahead = forward(
        shape, tokens=seen * sizes.processed * padded, context=sizes.context, passes=passes,
        scored=seen * sizes.scored,
    )  # fmt: skip
    times = BACKWARD if settings.lora is None else BACKWARD_FROZEN
    trained = _trained_weights(settings, shape)
    load = Load(
        tokens=ahead.tokens,
        **_by_precision(settings, device, times * ahead.flops),
        width=shape.hidden,
        operations=BACKWARD * ahead.operations + steps * _step_operations(shape),
        bytes=BACKWARD * ahead.bytes + steps * trained * OPTIMIZER_BYTES,
        seconds=SECONDS_TO_START,
        memory=_memory(shape, sizes, trained=trained, rows=micro),
        disk=BYTES * trained,
        working_disk=(KEPT + 1) * 3.0 * BYTES * trained,
        exact=part.exact,
    )
    if not (refers and sizes.referenced):
        return load
    rows = min(part.rows, seen)
    reference = forward(
        shape, tokens=rows * sizes.referenced, context=sizes.context,
        passes=rows if device == "cpu" else rows / micro, scored=rows * sizes.scored,
    )  # fmt: skip
    flops = _by_precision(settings, device, reference.flops)
    operations = ONE_BY_ONE * reference.operations
    return load + replace(
        reference, **{"flops": 0.0, **flops}, operations=operations, exact=part.exact
    )


def _by_precision(settings: TrainingSettings, device: str, flops: float) -> dict[str, float]:
    """Say in which precision products are computed."""
    half = settings.precision == "bf16" or (settings.precision == "auto" and device != "cpu")
    return {"half_flops" if half else "flops": flops}


def _step_operations(shape: ModelShape) -> float:
    return STEP_OPERATIONS + TENSOR_OPERATIONS * TENSORS_A_LAYER * shape.layers


def _trained_weights(settings: TrainingSettings, shape: ModelShape) -> float:
    """Count the weights that learn: all of them, or an adapter's two narrow matrices a layer."""
    if settings.lora is None:
        return float(shape.parameters)
    return shape.layers * sum(
        settings.lora.r * _ends(name, shape) for name in settings.lora.target_modules
    )


def _ends(name: str, shape: ModelShape) -> int:
    """Return inputs plus outputs of a layer that an adapter is named for."""
    if name in {"fc1", "fc2", "up_proj", "down_proj", "gate_proj"}:
        return shape.hidden + shape.ffn
    return shape.hidden + (shape.keys if name in {"k_proj", "v_proj"} else shape.hidden)


def _memory(shape: ModelShape, sizes: RowSizes, *, trained: float, rows: float) -> float:
    """Return the peak bytes: weights, gradients and moments of what learns, a pass' activations.

    A layer keeps some 16 vectors of its width and 2 of its feed-forward's for a position, and a
    map of all pairs of positions a head; the vocabulary's logits are held three times.
    """
    positions = rows * sizes.processed
    kept = 16.0 * shape.hidden + 2.0 * shape.ffn + 2.0 * shape.heads * sizes.context
    logits = 3.0 * rows * sizes.scored * shape.vocabulary
    return shape.weight_bytes + BYTES * (3.0 * trained + positions * shape.layers * kept + logits)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
