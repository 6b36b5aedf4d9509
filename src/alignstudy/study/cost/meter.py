"""What a stage really took: time and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from alignstudy.runtime.peak_memory import device_peak, lifetime_peak, process_peak, reset_peak


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

    def facts(self, *, beside: bool) -> dict[str, Any]:
        """Return what is kept with the artefact; what the machine doesn't report is null.

        Args:
            beside: Whether other stages ran at the same time.
        """
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "peak_memory": self.peak_memory,
            "device_memory": self.device_memory,
            **({"beside": True} if beside else {}),
        }


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
        clock, processors, before = time.monotonic(), _processor_seconds(), lifetime_peak()
        try:
            yield cost
        finally:
            inside = self._inside.pop()
            seconds, processors = time.monotonic() - clock, _processor_seconds() - processors
            cost.seconds = seconds - inside.seconds
            cost.cpu_seconds = processors - inside.cpu_seconds
            cost.device_memory = device_peak(self._device) or None
            cost.peak_memory = process_peak() if self._can_reset else _risen_above(before)
            if self._inside:
                self._inside[-1].seconds += seconds
                self._inside[-1].cpu_seconds += processors


def _risen_above(before: int | None) -> int | None:
    """Return the highest peak since the process began, if it rose; else it isn't this stretch's."""
    highest = lifetime_peak()
    return highest if highest is not None and before is not None and highest > before else None


def _processor_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def cost_row(stage: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's row of the cost table; what its facts don't hold is None."""
    row = {
        "stage": stage,
        "seconds": facts["seconds"],
        "cpu_seconds": facts.get("cpu_seconds"),
        "tokens": facts.get("tokens"),
        "flops": facts.get("flops"),
        "peak_memory": facts.get("peak_memory"),
        "device_memory": facts.get("device_memory"),
        "device": facts.get("device", ""),
        "reused": bool(facts.get("reused")),
    }
    return {**row, **{name: True for name in ("resumed", "beside") if facts.get(name)}}
