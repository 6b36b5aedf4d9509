"""Few shapes for many batches: texts and layouts padded so that what is computed is the same.

A CUDA graph, like a compiled kernel, is made for tensors of one shape. What is padded is nobody's
context and nobody's target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.nn.functional import pad

from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.scoring.layout import Layout, padded_layout

Batch = dict[str, Any]

LAYOUT, MEASURED_LAYOUT = "layout", "measured_layout"
"""In a batch: how its texts are laid out; how those are that are only measured."""

BLOCK = 128
"""Lengths are multiples of it; longer ones than 1,024 of an eighth of the power of two below."""


@dataclass(frozen=True)
class Shape:
    """What a graph is recorded for.

    Attributes:
        rows: Texts of the piece.
        width: Positions of its texts as padded.
        length: Positions of the row that they are joined to.
        targets: That are scored.
        measured: Length and targets of the row of texts that are only measured; None without any.
    """

    rows: int
    width: int
    length: int
    targets: int
    measured: tuple[int, int] | None = None

    def holds(self, other: Shape) -> bool:
        """Return whether a piece of another shape can be padded to this one."""
        if (self.rows, self.width) != (other.rows, other.width):
            return False
        ours, theirs = self.measured or (0, 0), other.measured or (0, 0)
        sizes = zip(
            (self.length, self.targets, *ours), (other.length, other.targets, *theirs), strict=True
        )
        return (self.measured is None) == (other.measured is None) and all(a >= b for a, b in sizes)


def rounded(number: int) -> int:
    """Round a number of positions up to one of few."""
    unit = max(BLOCK, (1 << max(number - 1, 1).bit_length() - 1) // 8)
    return -(-number // unit) * unit


def rounded_targets(number: int, length: int) -> int:
    """Round a number of targets up to a quarter of the row's length, or two, ..."""
    return max(1, -(-4 * number // length)) * length // 4


def _layouts(batch: Batch) -> list[str]:
    return [name for name, value in batch.items() if isinstance(value, Layout)]


def shape_of(laid: Batch) -> Shape:
    """Return the shape that a batch is to be padded to."""
    sizes = []
    for name in _layouts(laid):
        length = rounded(laid[name].input_ids.numel())
        sizes.append((length, rounded_targets(len(laid[name].targets), length)))
    (length, targets), *measured = sizes
    rows, width = laid["input_ids"].shape
    return Shape(rows, width, length, targets, *measured)


def widened(piece: Batch, width: int) -> Batch:
    """Pad a piece's texts on the right."""
    more = width - piece["input_ids"].shape[1]
    return {
        name: pad(value, (0, more), value=IGNORED if name == "labels" else 0)
        if value.dim() == 2
        else value
        for name, value in piece.items()
    }


def padded(laid: Batch, shape: Shape) -> Batch:
    """Pad a batch's layouts to a shape."""
    sizes = zip(
        _layouts(laid), [(shape.length, shape.targets), shape.measured or (0, 0)], strict=False
    )
    return {**laid, **{name: padded_layout(laid[name], *size) for name, size in sizes}}


def fill(static: Batch, ready: Batch) -> None:
    """Copy a batch to where a graph reads it, without waiting."""
    for name, value in ready.items():
        if isinstance(value, Layout):
            fill(static[name].tensors, value.tensors)
        else:
            source = value.pin_memory() if static[name].is_cuda else value
            static[name].copy_(source, non_blocking=True)
