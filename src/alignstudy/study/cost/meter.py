"""What a stage really took: time and memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What one stage took, without the stages that were made meanwhile because it asked for them.

    Attributes:
        seconds: Of the wall clock.
        cpu_seconds: Of all processors, child processes that have ended included.
        peak_memory: Most bytes that the process held, libraries included, child processes not;
            None where the machine doesn't report it.
        device_memory: Most bytes that tensors held on the accelerator; None without one.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int | None = None
    device_memory: int | None = None


class Meter:
    """Measures stretches of work, also one inside another: no second is counted twice.

    Peaks are the process' own: one inside another has at least what the outer one held before.

    Args:
        device: "cpu" or "cuda": its own memory is measured too.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._inside: list[Cost] = []
        """Of each open stretch, what stretches inside it took."""
        self._can_reset = False

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """Measure what the block does; the yielded cost is filled in when it ends."""
        cost = Cost()
        if not self._inside:
            self._can_reset = reset_peak(self._device)
        self._inside.append(Cost())
        clock, processors, before = time.monotonic(), _processors(), lifetime_peak()
        try:
            yield cost
        finally:
            inside = self._inside.pop()
            seconds, processors = time.monotonic() - clock, _processors() - processors
            cost.seconds = round(seconds - inside.seconds, 3)
            cost.cpu_seconds = round(processors - inside.cpu_seconds, 3)
            if self._device.startswith("cuda"):
                import torch

                cost.device_memory = int(torch.cuda.max_memory_allocated(self._device)) or None
            if self._can_reset:
                cost.peak_memory = process_peak()
            else:  # the highest since the process began is this stretch's only if it rose
                highest = lifetime_peak() or 0
                cost.peak_memory = highest if before is not None and highest > before else None
            if self._inside:
                self._inside[-1].seconds += seconds
                self._inside[-1].cpu_seconds += processors


def _processors() -> float:
    """Return the seconds of all processors; children count in hundredths, when they have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def reset_peak(device: str) -> bool:
    """Begin a stretch: forget earlier peaks.

    Returns:
        Whether the process' own peak could be forgotten (Linux lets a process do that).
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def process_peak() -> int | None:
    """This process' peak resident bytes since `reset_peak`; None where Linux doesn't tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


def lifetime_peak() -> int | None:
    """This process' peak resident bytes since it began; None where there is no such count."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def cost_row(stage: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's row of the cost table; what its facts don't hold is None."""
    measured = ("cpu_seconds", "tokens", "flops", "peak_memory", "device_memory")
    row = {
        "stage": stage,
        "seconds": facts["seconds"],
        **{name: facts.get(name) for name in measured},
        "device": facts.get("device", ""),
        "reused": bool(facts.get("reused")),
    }
    return {**row, **{name: True for name in ("resumed", "beside") if facts.get(name)}}
