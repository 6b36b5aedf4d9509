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
        bandwidth: GB/s of copying what no cache holds, reading and writing counted.
        dispatch: Seconds that a small operation takes whatever its size.
    """

    name: str
    wide: float
    narrow: float
    bandwidth: float
    dispatch: float


def measure_device(device: str) -> DeviceSpeed:
    """Measure an accelerator with a few products (0.2 GB of its memory)."""
    import torch

    from alignstudy.loading.device import device_name

    with torch.inference_mode():
        rows = torch.ones(2048, 2048, device=device)
        few, weight = torch.ones(8, 2048, device=device), torch.ones(2048, 2048, device=device)
        block, target = (torch.ones(2**24, device=device) for _ in range(2))
        small = torch.ones(8, device=device)
        return DeviceSpeed(
            name=device_name(device),
            wide=2e-9 * 2048**3 / _seconds(lambda: rows @ weight, device, times=20),
            narrow=2e-9 * 8 * 2048**2 / _seconds(lambda: few @ weight, device, times=100),
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
