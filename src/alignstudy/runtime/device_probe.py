"""How fast an accelerator multiplies, streams and starts an operation: measured in a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class DeviceSpeed:
    """What was measured of an accelerator.

    Attributes:
        name: "NVIDIA H200".
        wide: GF/s of a wide float32 product, as torch is set to compute it.
        narrow: GF/s of a product of eight rows.
        half: GF/s of a wide product of bfloat16 tensors.
        bandwidth: GB/s of copying what no cache holds, reading and writing counted.
        dispatch: Seconds that a small operation takes whatever its size.
    """

    name: str
    wide: float
    narrow: float
    half: float
    bandwidth: float
    dispatch: float


def measure_device(device: str, *, size: int = 2048) -> DeviceSpeed:
    """Measure an accelerator with a few products.

    Args:
        device: Its name.
        size: Rows and columns of the wide product; 2048 takes 0.2 GB of its memory.
    """
    import torch

    from alignstudy.runtime.device import device_name

    with torch.inference_mode():
        rows, weight = (torch.ones(size, size, device=device) for _ in range(2))
        few, block = torch.ones(8, size, device=device), torch.ones(4 * size**2, device=device)
        half_rows, half_weight = rows.bfloat16(), weight.bfloat16()
        target = torch.empty_like(block)
        small = torch.ones(8, device=device)
        return DeviceSpeed(
            name=device_name(device),
            wide=2e-9 * size**3 / _seconds(lambda: rows @ weight, device, times=20),
            narrow=2e-9 * 8 * size**2 / _seconds(lambda: few @ weight, device, times=100),
            half=2e-9 * size**3 / _seconds(lambda: half_rows @ half_weight, device, times=20),
            bandwidth=2e-9 * block.nbytes / _seconds(lambda: target.copy_(block), device, times=20),
            dispatch=_seconds(lambda: small + small, device, times=500),
        )


def _seconds(run: Callable[[], Tensor], device: str, *, times: int) -> float:
    """Time one call by the wall clock: the median round of several calls queued together."""
    import torch

    taken = []
    for _ in range(_ROUNDS + 1):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(times):
            run()
        torch.cuda.synchronize(device)
        taken.append((time.perf_counter() - start) / times)
    return median(taken[1:])  # the first round sets kernels up
