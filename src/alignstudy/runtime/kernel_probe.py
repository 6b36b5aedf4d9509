"""How fast, and how exactly, this CPU multiplies matrices by each route that torch offers.

Torch's float32 products take the route of its build, mostly Intel's MKL, which runs at less than
half speed on some other makers' processors. The switch `torch.backends.mkldnn.matmul` sends them
through oneDNN instead. It is meant for bfloat16: where oneDNN has no bfloat16 kernel that it
likes better it computes true float32, elsewhere it really rounds to 8 bits. So the error is
measured on this machine, never assumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_ONEDNN = "bf16"
"""What the switch is set to for the oneDNN route."""
_IS_FLOAT32 = ("none", "ieee")
"""Settings of the switch under which torch's default route is float32."""
_ROUNDS = 5
"""Repetitions of a timing; the median of an odd number isn't moved by two disturbed ones."""
_FEW_ROWS = 8
_WIDE = (512, 1024, 2048)
"""Rows, inputs and outputs of the wide product: a small transformer layer on a small batch."""
_SLOW = (128, 1024, 1024)
"""The same for bfloat16, which takes tenfold time where the processor doesn't know it."""

Product = Callable[[], "Tensor"]


def current_route() -> str:
    """Return the route that float32 products take now: "default" or "onednn"."""
    return "onednn" if _switch().fp32_precision == _ONEDNN else "default"


def use_route(route: str) -> None:
    """Send float32 products by a route from now on, in all threads of this process.

    "default" changes nothing where torch computes true float32 already.
    """
    switch = _switch()
    if route == "onednn":
        switch.fp32_precision = _ONEDNN
    elif switch.fp32_precision not in _IS_FLOAT32:
        switch.fp32_precision = "ieee"


@contextmanager
def by_route(route: str) -> Iterator[None]:
    """Send float32 products by a route inside the block."""
    switch = _switch()
    before = switch.fp32_precision
    use_route(route)
    try:
        yield
    finally:
        switch.fp32_precision = before


def onednn_at_hand() -> bool:
    """Return whether torch was built with oneDNN."""
    import torch

    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _switch() -> Any:  # noqa: ANN401 - torch makes this module of attributes when imported
    import torch

    backend: Any = torch.backends.mkldnn
    return backend.matmul


def products() -> dict[str, tuple[Product, Tensor]]:
    """Return the products that errors are measured on, each with its value in float64.

    They are what training and evaluation do: a layer forward, its two gradients, attention's
    batched products on strided heads, odd sizes, few rows and one row.
    """
    import torch

    linear = torch.nn.functional.linear
    inputs, weight = _matrices(_WIDE, torch.float32)
    grad = _randn(_WIDE[0], _WIDE[2])
    odd, odd_weight = _matrices((37, 301, 93), torch.float32)
    heads = _randn(2, 96, 4, 64).transpose(1, 2)
    scores = _randn(2, 4, 96, 96)
    few, one = inputs[:_FEW_ROWS], inputs[:1]
    made: dict[str, Callable[[Callable[[Tensor], Tensor]], Tensor]] = {
        "layer": lambda of: linear(of(inputs), of(weight)),
        "gradient of its input": lambda of: of(grad) @ of(weight),
        "gradient of its weight": lambda of: of(grad).T @ of(inputs),
        "attention scores": lambda of: of(heads) @ of(heads).transpose(-1, -2),
        "attention values": lambda of: of(scores) @ of(heads),
        "odd sizes": lambda of: linear(of(odd), of(odd_weight), of(odd_weight[:, 0])),
        "few rows": lambda of: linear(of(few), of(weight)),
        "one row": lambda of: linear(of(one), of(weight)),
    }
    return {name: (_bound(make), make(lambda t: t.double())) for name, make in made.items()}


def _bound(make: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> Product:
    return lambda: make(lambda tensor: tensor)


def outputs_of(route: str, asked: Mapping[str, tuple[Product, Tensor]]) -> dict[str, Tensor]:
    """Compute every product by a route."""
    with by_route(route):
        return {name: product() for name, (product, _) in asked.items()}


def errors_of(
    outputs: Mapping[str, Tensor], asked: Mapping[str, tuple[Product, Tensor]]
) -> dict[str, float]:
    """Each product's largest error, as a share of its largest true value; inf: not finite."""
    found = {}
    for name, (_, true) in asked.items():
        error = float((outputs[name].double() - true).abs().max() / true.abs().max())
        found[name] = error if error >= 0 else float("inf")
    return found


def wide_seconds(routes: Sequence[str]) -> dict[str, float]:
    """Time the wide product by each route, in turns, so that a busy moment hits them all alike.

    Returns:
        Median processor seconds of one product, by route.
    """
    import torch

    inputs, weight = _matrices(_WIDE, torch.float32)
    taken: dict[str, list[float]] = {route: [] for route in routes}
    for turn in range(_ROUNDS + 1):
        for route in routes:
            with by_route(route):
                seconds = _processor_seconds(lambda: torch.nn.functional.linear(inputs, weight))
            if turn:  # the first turn sets kernels up
                taken[route].append(seconds)
    return {route: median(seconds) for route, seconds in taken.items()}


def speed(seconds: float, shape: tuple[int, int, int] = _WIDE) -> float:
    """Return GF/s from the processor seconds of one product, all threads at work."""
    import torch

    rows, inputs, outputs = shape
    return 2e-9 * rows * inputs * outputs * torch.get_num_threads() / seconds


def bfloat16_speed() -> float:
    """Return GF/s of a wide product of bfloat16 tensors."""
    import torch

    inputs, weight = _matrices(_SLOW, torch.bfloat16)
    return speed(_median_seconds(lambda: torch.nn.functional.linear(inputs, weight)), _SLOW)


def few_rows_speed() -> float:
    """Return GF/s of a float32 product of 8 rows by the route in use."""
    import torch

    shape = (_FEW_ROWS, *_WIDE[1:])
    inputs, weight = _matrices(shape, torch.float32)
    return speed(_median_seconds(lambda: torch.nn.functional.linear(inputs, weight)), shape)


def streaming_bandwidth() -> float:
    """Return GB/s at which one row meets float32 weights that no cache holds (128 MB)."""
    import torch

    weight = torch.full((8192, 4096), 0.5)
    row = torch.full((1, 4096), 0.5)
    seconds = _median_seconds(lambda: torch.nn.functional.linear(row, weight))
    return 1e-9 * weight.nbytes * torch.get_num_threads() / seconds


def dispatch_seconds() -> float:
    """Return the seconds that a small operation takes whatever its size."""
    import torch

    row, weight = torch.ones(1, 8), torch.ones(8, 8)

    def hundred() -> None:
        for _ in range(100):
            torch.nn.functional.linear(row, weight)

    return _median_seconds(hundred) / 100


def _median_seconds(run: Callable[[], object]) -> float:
    run()
    return median(_processor_seconds(run) for _ in range(_ROUNDS))


def _processor_seconds(run: Callable[[], object]) -> float:
    """Time by the processor's clock, which stands still while another process computes."""
    start = time.process_time()
    run()
    return max(time.process_time() - start, 1e-9)


def _matrices(shape: tuple[int, int, int], dtype: object) -> tuple[Tensor, Tensor]:
    rows, inputs, outputs = shape
    return _randn(rows, inputs).to(dtype), _randn(outputs, inputs).to(dtype)  # type: ignore[call-overload]


def _randn(*sizes: int) -> Tensor:
    """Return normal numbers, the same ones always; torch's own generator isn't touched."""
    import torch

    return torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes)))
