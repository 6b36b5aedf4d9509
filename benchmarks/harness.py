"""Runs two ways of doing the same work in turns, and writes down what it took.

A B A B ...: a machine that other people use at the same time disturbs both alike. Each way has a
process of its own (`Side`), started once, so that neither sees the other's settings of torch.
Every run gives seconds of the clock and of the processor, and counts that no clock disturbs.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import usable_cores

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables that keep every library from the network."""


@dataclass(kw_only=True)
class Sample:
    """One run.

    Attributes:
        wall: Seconds of the clock.
        cpu: Seconds of the processor, those of finished child processes included; NaN where
            child processes live on.
        counters: Counts: tokens, passes, steps.
        found: What came out, to be compared; not written.
    """

    wall: float = 0.0
    cpu: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    found: Any = None


@contextmanager
def stopwatch(sample: Sample) -> Iterator[None]:
    """Add the block's seconds to a sample; garbage of before is not collected inside."""
    gc.collect()
    wall, cpu = time.perf_counter(), processor_seconds()
    try:
        yield
    finally:
        sample.wall += time.perf_counter() - wall
        sample.cpu += processor_seconds() - cpu


def processor_seconds() -> float:
    """Return the processor's seconds of this process and of its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Side(ProcessPoolExecutor):
    """A process of its own for one way of working; calls run in it one after another."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(1, context, initializer=_begin, initargs=(threads,))

    def call(self, work: Callable[..., Any], /, *given: Any, **options: Any) -> Any:
        """Run `work(*given, **options)` there; its error is raised here."""
        return self.submit(work, *given, **options).result()


def _begin(threads: int) -> None:
    os.environ |= OFFLINE | dict.fromkeys(THREAD_VARIABLES, str(threads))
    import torch

    torch.set_num_threads(threads)


@contextmanager
def both_sides(threads: int) -> Iterator[tuple[Path, Side, Side]]:
    """Yield a scratch folder, a process for the notebooks' way and one for ours."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as scratch,
        Side(threads) as theirs,
        Side(threads) as mine,
    ):
        for side in (theirs, mine):
            side.submit(int)  # both start now, at the same time
        yield Path(scratch), theirs, mine


def in_turns(variants: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Run every variant (by name) once a round, one after another."""
    samples: dict[str, list[Sample]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            sample = run()
            samples[name].append(sample)
            shown = f"  {name}: {sample.cpu:.2f} s processor, {sample.wall:.2f} s clock"
            print(shown, file=sys.stderr, flush=True)
    return samples


def shared_machine(*alone: Sequence[Sample], cores: int = 1, least: float = 0.85) -> str:
    """Return why this machine can't show what so many processes gain; empty where it can.

    Args:
        alone: Runs of one process with one thread.
        cores: How many are needed.
        least: Share of a core below which the clock says more of others than of us.
    """
    if usable_cores() < cores:
        return f"this machine has fewer than {cores} cores"
    got = min(sample.cpu / sample.wall for runs in alone for sample in runs)
    if got >= least:
        return ""
    return f"others used the processor: one thread had {100 * got:.0f} % of a core"
