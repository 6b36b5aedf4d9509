"""What a stage really took: time and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from alignstudy.runtime.peak_memory import (
    device_peak,
    lifetime_peak,
    process_peak,
    reset_peak,
)


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


@dataclass
class _Open:
    """A stretch that is being measured: readings at its start, and what stretches inside took."""

    clock: float
    processors: float
    before: int | None
    resets: bool
    inner: Cost = field(default_factory=Cost)
    peak: int = 0
    device_peak: int = 0


class Meter:
    """Measures stretches of work, also one inside another: nothing is counted twice.

    Args:
        device: "cpu" or "cuda": its own memory is measured too.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._open: list[_Open] = []

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """Measure what the block does; the yielded cost is filled in when it ends."""
        cost = Cost()
        if self._open:
            self._note_peaks(self._open[-1])
        opened = _Open(
            clock=time.monotonic(),
            processors=_processor_seconds(),
            before=lifetime_peak(),
            resets=reset_peak(self._device),
        )
        self._open.append(opened)
        try:
            yield cost
        finally:
            self._close(opened, cost)

    def _close(self, opened: _Open, cost: Cost) -> None:
        self._note_peaks(opened)
        self._open.pop()
        seconds = time.monotonic() - opened.clock
        processors = _processor_seconds() - opened.processors
        cost.seconds = seconds - opened.inner.seconds
        cost.cpu_seconds = processors - opened.inner.cpu_seconds
        cost.peak_memory = opened.peak or None
        cost.device_memory = opened.device_peak or None
        if self._open:
            outer = self._open[-1]
            outer.inner.seconds += seconds
            outer.inner.cpu_seconds += processors
            reset_peak(self._device)

    def _note_peaks(self, opened: _Open) -> None:
        """Take the peak so far: what begins or ends now resets it.

        Where it can't be reset, the highest since the process began is this stretch's only if it
        rose meanwhile; otherwise it isn't known.
        """
        peak = process_peak() if opened.resets else None
        if peak is None:
            highest = lifetime_peak()
            rose = highest is not None and opened.before is not None and highest > opened.before
            peak = highest if rose else None
        opened.peak = max(opened.peak, peak or 0)
        opened.device_peak = max(opened.device_peak, device_peak(self._device) or 0)


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
