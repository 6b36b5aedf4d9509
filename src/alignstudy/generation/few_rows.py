"""Products of few rows with matrices that are laid out once, for all steps of a batch.

A product of few rows with a matrix as it lies in memory first lays the matrix out anew for the
processor, at every step: more work than the product. oneDNN takes matrices laid out beforehand, as
the weights of a convolution of width 1, which is the same product. Which route is the faster one
depends on processor, matrix and rows: both are timed while they work, then the faster one stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from alignstudy.generation.costs import MOST_ROWS
from alignstudy.runtime.spreading import free_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_LEAST_NUMBERS = 2**18
"""Of a matrix: a smaller one stays in the processor's cache, and is laid out in no time."""

_SHARE = 0.5
"""Of the free memory, what laid-out matrices may take at most."""

_MULTIPLE = 4
"""Rows are filled up to a multiple of this: the layout suits such numbers of rows."""

_LAID_OUT_FOR = 16
"""Rows that the layout is made for; it suits most other numbers, too."""

_ERROR_CAP = 1e-5
"""Largest difference of the routes, as a share of the largest value; float32 makes 1e-6."""

_TURNS = 8
"""Timings of each route, after one that sets kernels up; the lower half of them counts."""


class LaidOutProducts:
    """A model's large matrices, each laid out when it first meets few rows.

    They hold as much memory as the matrices themselves, and give the same products within
    float32's rounding. The weights mustn't change afterwards.

    Args:
        model: In float32, on the CPU.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        import torch

        races: dict[tuple[object, ...], _Race] = {}
        self._matrices = [
            _Matrix(module, races)
            for module in model.modules()
            if type(module) is torch.nn.Linear and module.weight.numel() >= _LEAST_NUMBERS
        ]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Send the model's products of 2 to 32 rows by the faster route inside the block."""
        with ExitStack() as put_back:
            for matrix in self._matrices:
                put_back.enter_context(matrix.in_place())
            yield


def lay_out(model: torch.nn.Module) -> LaidOutProducts | None:
    """Prepare a model's products; None where torch can't, or memory doesn't suffice."""
    import torch

    weights = list(model.parameters())
    numbers = sum(weight.numel() for weight in weights)
    plain = all(w.dtype == torch.float32 and w.device.type == "cpu" for w in weights)
    if not plain or not _at_hand() or 4 * numbers > _SHARE * free_memory():
        return None
    return LaidOutProducts(model)


@cache
def _at_hand() -> bool:
    """Return whether this torch can lay weights out: its private operations come and go."""
    import torch

    numbers = torch.linspace(-1, 1, 128)
    rows, weight, bias = numbers[:64].view(_MULTIPLE, 16), numbers.view(8, 16), numbers[:8]
    with torch.inference_mode():
        try:
            product = _by_layout(rows, _laid_out(weight), bias)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False
        return _equal(product, torch.nn.functional.linear(rows, weight, bias))


def _equal(product: Tensor, plain: Tensor) -> bool:
    """Return whether two products differ by float32's rounding only."""
    return bool((product - plain).abs().max() <= _ERROR_CAP * plain.abs().max())


class _Race:
    """Two routes to the same products: timed in turns, until the faster one is known."""

    def __init__(self) -> None:
        self.laid_out: bool | None = None
        self._seconds: dict[bool, list[float]] = {False: [], True: []}

    @property
    def begun(self) -> bool:
        """Whether the laid-out route had its first turn."""
        return bool(self._seconds[True])

    @property
    def turn(self) -> bool:
        """Whether the next product is to go by the laid-out route."""
        return len(self._seconds[True]) < len(self._seconds[False])

    def timed(self, *, laid_out: bool, seconds: float) -> None:
        """Note a timing; settle the race when there are enough."""
        self._seconds[laid_out].append(seconds)
        if len(self._seconds[True]) > _TURNS:
            plain, fast = (_undisturbed(self._seconds[route][1:]) for route in (False, True))
            self.laid_out = fast < plain


def _undisturbed(seconds: list[float]) -> float:
    """Add up the lower half: what else runs on the machine makes the others longer."""
    return sum(sorted(seconds)[: len(seconds) // 2])


class _Matrix:
    """A linear layer's products; takes the place of its `forward`."""

    def __init__(self, module: Any, races: dict[tuple[object, ...], _Race]) -> None:  # noqa: ANN401
        self.module, self._races = module, races
        self._plain = module.forward
        self._shape = tuple(module.weight.shape)
        self._weight: Tensor | None = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Take the layer's place inside the block."""
        own = vars(self.module)
        before = own.get("forward")
        own["forward"] = self
        try:
            yield
        finally:
            del own["forward"]
            if before is not None:
                own["forward"] = before

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply (..., inputs) rows; gives (..., outputs)."""
        count = rows.numel() // rows.shape[-1]
        if not 2 <= count <= MOST_ROWS:
            return self._plain(rows)  # type: ignore[no-any-return]
        size = -(-count // _MULTIPLE) * _MULTIPLE
        race = self._races.setdefault((*self._shape, size), _Race())
        if race.laid_out is None:
            return self._raced(rows, size, race)
        return self._laid_out(rows, size) if race.laid_out else self._plain(rows)

    def _raced(self, rows: Tensor, size: int, race: _Race) -> Tensor:
        """Multiply by the route whose turn it is, and time it."""
        laid_out = race.turn
        if laid_out and self._weight is None:
            self._weight = _laid_out(self.module.weight)
        start = time.process_time()
        product = self._laid_out(rows, size) if laid_out else self._plain(rows)
        seconds = time.process_time() - start
        if laid_out and not race.begun:
            plain: Tensor = self._plain(rows)
            if not _equal(product, plain):
                race.laid_out = False
                return plain
        race.timed(laid_out=laid_out, seconds=seconds)
        return product

    def _laid_out(self, rows: Tensor, size: int) -> Tensor:
        """Multiply with the laid-out matrix, the rows filled up to `size`."""
        import torch

        if self._weight is None:
            self._weight = _laid_out(self.module.weight)
        flat = rows.reshape(-1, rows.shape[-1])
        count = len(flat)
        if size != count:
            flat = torch.nn.functional.pad(flat, (0, 0, 0, size - count))
        product = _by_layout(flat.contiguous(), self._weight, self.module.bias)[:count]
        return product.reshape(*rows.shape[:-1], product.shape[-1])


def _by_layout(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply (rows, inputs) as a convolution of width 1 over an image of one line."""
    import torch

    size, inputs = rows.shape
    line = rows.as_strided((1, inputs, 1, size), (size * inputs, 1, size * inputs, inputs))
    made: Tensor = torch.ops.mkldnn._convolution_pointwise(
        line, weight, bias, (0, 0), (1, 1), (1, 1), 1, "none", [], ""
    )
    return made.permute(0, 2, 3, 1).reshape(size, -1)


def _laid_out(weight: Tensor) -> Tensor:
    """Lay a (outputs, inputs) matrix out."""
    import torch

    filters = weight.detach()[:, :, None, None].to_mkldnn()
    shape = (1, weight.shape[1], 1, _LAID_OUT_FOR)
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    made: Tensor = reorder(filters, (0, 0), (1, 1), (1, 1), 1, shape)
    return made
