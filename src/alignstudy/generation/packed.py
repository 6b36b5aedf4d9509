"""Products of few rows with matrices that are packed once, for all steps of a batch.

A product of few rows with a matrix as it lies in memory first packs the matrix for the processor,
at every step: more work than the product. oneDNN takes matrices that were packed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from alignstudy.runtime.pool import free_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MOST_ROWS = 32
"""More rows gain nothing."""

_LEAST_NUMBERS = 2**18
"""Of a matrix: a smaller one stays in the processor's cache, and is packed in no time."""

_PACKED_FOR = 16
"""Rows that the packing is made for; it suits most other numbers, too."""

_SHARE = 0.5
"""Of the free memory, what packed matrices may take at most."""

_ERROR_CAP = 1e-5
"""Largest difference from the plain product, as a share of the largest value; float32's is 1e-6."""


class PackedProducts:
    """A model's large matrices, packed; they give the same products within float32's rounding.

    They hold as much memory as the matrices themselves, and the weights mustn't change afterwards.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        import torch

        self._layers = [
            (module, _with_packed(module))
            for module in model.modules()
            if type(module) is torch.nn.Linear and module.weight.numel() >= _LEAST_NUMBERS
        ]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Use the packed matrices for products of 2 to 32 rows inside the block."""
        for layer, product in self._layers:
            layer.forward = product  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            for layer, _ in self._layers:
                del layer.forward


def pack(model: torch.nn.Module) -> PackedProducts | None:
    """Pack a model's matrices; None if torch can't, it isn't float32 on a CPU, or memory is short.

    What torch offers for it is private: an error, or a number that differs, means that it can't.
    """
    import torch

    weights = list(model.parameters())
    plain = all(w.dtype == torch.float32 and w.device.type == "cpu" for w in weights)
    if not plain or 4 * sum(weight.numel() for weight in weights) > _SHARE * free_memory():
        return None
    numbers = torch.linspace(-1, 1, 200)
    rows, weight, bias = numbers[:64].view(4, 16), numbers[:128].view(8, 16), numbers[192:]
    with torch.inference_mode():
        try:
            product = _product(rows, _packed(weight), bias)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return None
        true = torch.nn.functional.linear(rows, weight, bias)
        equal = bool((product - true).abs().max() <= _ERROR_CAP * true.abs().max())
        return PackedProducts(model) if equal else None


def _with_packed(layer: torch.nn.Linear) -> Callable[[Tensor], Tensor]:
    """Return what takes the place of a layer's `forward`."""
    plain, packed = layer.forward, _packed(layer.weight)

    def forward(rows: Tensor) -> Tensor:
        if 2 <= rows.numel() // rows.shape[-1] <= MOST_ROWS:
            return _product(rows, packed, layer.bias)
        return plain(rows)

    return forward


def _packed(weight: Tensor) -> Tensor:
    import torch

    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _PACKED_FOR)
    return made


def _product(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    import torch

    made: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return made
