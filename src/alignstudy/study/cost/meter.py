"""What a stage really took: time, memory, energy, and the arithmetic that it did."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from alignstudy.runtime.peak_memory import (
    device_peak,
    device_uuid,
    lifetime_peak,
    process_peak,
    reset_peak,
)
from alignstudy.study.cost.energy import EnergyMeter, gpu_counters, package_counters


@dataclass
class Cost:
    """What one stage took, without the stages that were made meanwhile because it asked for them.

    Attributes:
        seconds: Of the wall clock.
        cpu_seconds: Of all processors, child processes that have ended included.
        peak_memory: Most bytes that the process held, libraries included, child processes not;
            None where the machine doesn't tell.
        device_memory: Most bytes that tensors held on the accelerator; None without one.
        joules: What the machine's own counters say, whoever else worked meanwhile; None where
            there are none.
        joules_of: What the counters are of: "processor", "GPU".
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int | None = None
    device_memory: int | None = None
    joules: float | None = None
    joules_of: str = ""

    def facts(self, *, beside: bool) -> dict[str, Any]:
        """Return what is kept with the artefact; what the machine doesn't tell is null.

        Args:
            beside: Whether other stages were at work meanwhile: the machine's counters don't tell
                whose energy it was.
        """
        told = self.joules is not None and not beside
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "peak_memory": self.peak_memory,
            "device_memory": self.device_memory,
            "joules": round(self.joules or 0.0, 1) if told else None,
            "joules_of": self.joules_of if told else "",
            **({"beside": True} if beside else {}),
        }


@dataclass
class _Open:
    """A stretch that is being measured: readings at its start, and what stretches inside took."""

    clock: float
    processors: float
    joules: float | None
    before: int | None
    resets: bool
    inner: Cost = field(default_factory=Cost)
    peak: int = 0
    device_peak: int = 0


class Meter:
    """Measures stretches of work, also one inside another: nothing is counted twice.

    Args:
        device: "cpu" or "cuda": its memory and energy are measured too.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._open: list[_Open] = []
        gpus = gpu_counters(device_uuid(device)) if device.startswith("cuda") else []
        self._energy = EnergyMeter(package_counters(), gpus)

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """Measure what the block does; the yielded cost is filled in when it ends."""
        cost = Cost()
        if self._open:
            self._note_peaks(self._open[-1])
        else:
            self._energy.watch()
        opened = _Open(
            clock=time.monotonic(), processors=_processor_seconds(), joules=self._energy.joules(),
            before=lifetime_peak(), resets=reset_peak(self._device),
        )  # fmt: skip
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
        joules = self._energy.joules()
        spent = None if joules is None or opened.joules is None else joules - opened.joules
        cost.seconds = seconds - opened.inner.seconds
        cost.cpu_seconds = processors - opened.inner.cpu_seconds
        cost.peak_memory = opened.peak or None
        cost.device_memory = opened.device_peak or None
        cost.joules_of = self._energy.of if spent is not None else ""
        cost.joules = None if spent is None else spent - (opened.inner.joules or 0.0)
        if self._open:
            outer = self._open[-1]
            outer.inner.seconds += seconds
            outer.inner.cpu_seconds += processors
            outer.inner.joules = (outer.inner.joules or 0.0) + (spent or 0.0)
            reset_peak(self._device)
        else:
            self._energy.rest()

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
    """Write a stage's cost for the report; an artefact of before costs were kept has its time."""
    row = {
        "stage": stage,
        "seconds": facts["seconds"],
        "cpu_seconds": facts.get("cpu_seconds"),
        "tokens": facts.get("tokens"),
        "flops": facts.get("flops"),
        "peak_memory": facts.get("peak_memory"),
        "device_memory": facts.get("device_memory"),
        "joules": facts.get("joules"),
        "device": facts.get("device", ""),
        "reused": bool(facts.get("reused")),
    }
    return {**row, **{name: True for name in ("resumed", "beside") if facts.get(name)}}
