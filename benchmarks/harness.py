"""Runs two ways of doing the same work in turns, and writes down what it took.

A B A B ...: a machine that other people use at the same time disturbs both alike. Each way has a
process of its own (`Side`), started once, so that neither sees the other's settings of torch.
Every run gives seconds of the clock and of the processor, and counts that no clock disturbs.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from machine import hardware, versions

RESULTS = Path(__file__).resolve().parent / "results"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TOO_LITTLE = "a quick run is too little work for two processes to pay"
"""Why a quick run has no gate on two processes."""

Clock = Literal["cpu", "wall"]


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


class Side:
    """A process of its own for one way of working; calls run in it one after another."""

    def __init__(self, threads: int) -> None:
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(threads,)
        )

    def call(self, work: Callable[..., Any], /, *given: Any, **options: Any) -> Any:
        """Do `work(*given, **options)` there; its error is raised here."""
        return self.begin(work, *given, **options).result()

    def begin(self, work: Callable[..., Any], /, *given: Any, **options: Any) -> Future[Any]:
        """Begin `work(*given, **options)` there, after what was begun before."""
        return self._pool.submit(work, *given, **options)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def both_sides(threads: int) -> Iterator[tuple[Path, Side, Side]]:
    """Return a scratch folder, a process for the notebooks' way and one for ours."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as scratch,
        Side(threads) as theirs,
        Side(threads) as mine,
    ):
        for side in (theirs, mine):
            side.begin(int)  # both start now, at the same time
        yield Path(scratch), theirs, mine


def _begin(threads: int) -> None:
    os.environ |= offline_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads))
    import torch

    torch.set_num_threads(threads)


def offline_environment() -> dict[str, str]:
    """Return the variables that keep every library from phoning home."""
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def in_turns(
    variants: Mapping[str, Callable[[], Sample]],
    rounds: int | Mapping[str, int],
    *,
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, list[Sample]]:
    """Run every variant once a round, one after another.

    Args:
        variants: Name -> what runs it once.
        rounds: How often; by name where one is run less often (in the first rounds).
        tell: Told of every run.
    """
    times = {name: rounds if isinstance(rounds, int) else rounds[name] for name in variants}
    samples: dict[str, list[Sample]] = {name: [] for name in variants}
    for number in range(max(times.values())):
        for name, run in variants.items():
            if number < times[name]:
                sample = run()
                samples[name].append(sample)
                tell(f"  {name}: {sample.cpu:.2f} s processor, {sample.wall:.2f} s clock")
    return samples


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median with the least and the largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high or math.isnan(self.median):
            return _number(self.median)
        return f"{_number(self.median)} ({_number(self.low)}-{_number(self.high)})"


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and largest."""
    return Spread(median=statistics.median(values), low=min(values), high=max(values))


def ratio(before: Sequence[Sample], after: Sequence[Sample], clock: Clock = "cpu") -> Spread:
    """Return how many times less `after` took.

    The median is the ratio of medians; the spread is that of the rounds that both have, or, where
    the old way was run less often, of its median to each of the new.
    """
    old, new = ([getattr(one, clock) for one in side] for side in (before, after))
    if len(old) == len(new):
        ratios = [b / a for b, a in zip(old, new, strict=True)]
    else:
        ratios = [statistics.median(old) / a for a in new]
    whole = statistics.median(old) / statistics.median(new)
    return Spread(median=whole, low=min(ratios), high=max(ratios))


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A number that must be reached.

    Attributes:
        measured: None where it wasn't measured.
        required: What `measured` must reach.
        aim: What is aimed at; missing it fails nothing.
        at_least: False: `measured` must not be above `required`.
        not_measurable: Why this machine can't show it, with the number that says so.
    """

    name: str
    measured: float | None
    required: float
    aim: float | None = None
    at_least: bool = True
    spread: Spread | None = None
    not_measurable: str = ""

    @property
    def reached(self) -> bool:
        """Whether the required number is reached."""
        return self._reaches(self.required)

    @property
    def failed(self) -> bool:
        """Whether it could be measured here and is not reached."""
        return not self.not_measurable and not self.reached

    @property
    def verdict(self) -> str:
        """The gate's state in words."""
        if self.not_measurable:
            return f"not measurable here: {self.not_measurable}"
        if not self.reached:
            return "FAILED"
        return "passed, aim reached" if self.aim and self._reaches(self.aim) else "passed"

    def _reaches(self, bound: float) -> bool:
        if self.measured is None:
            return False
        return self.measured >= bound if self.at_least else self.measured <= bound


def gate_on_ratio(
    name: str, found: Spread, required: float, aim: float | None = None, *, unless: str = ""
) -> Gate:
    """Make a gate on how many times faster.

    Args:
        name: What is gated.
        found: As `ratio` gives it.
        required: The least.
        aim: What is aimed at.
        unless: Why a number below `required` says nothing about the code on this machine, as
            measured; empty where there is no such reason.
    """
    gate = Gate(name=name, measured=found.median, spread=found, required=required, aim=aim)
    return gate if gate.reached else replace(gate, not_measurable=unless)


def at_most(name: str, measured: float, required: float, aim: float | None = None) -> Gate:
    """Make a gate on a number that must not be above another."""
    return Gate(name=name, measured=measured, required=required, aim=aim, at_least=False)


def two_cannot_show(*alone: Sequence[Sample]) -> str:
    """Return why two processes can't show here what they gain; empty where they can.

    Args:
        alone: As for `shared_machine`.
    """
    from alignstudy.runtime.spreading import usable_cores

    return "this machine has 1 core" if usable_cores() < 2 else shared_machine(*alone)


def shared_machine(*alone: Sequence[Sample], least: float = 0.85) -> str:
    """Say that others used the processor, from runs of one thread; empty where they did not.

    Args:
        alone: Runs of one process with one thread.
        least: Share of a core below which the clock says more of the others than of us.
    """
    shares = [sample.cpu / sample.wall for runs in alone for sample in runs]
    got = min(shares)
    if got >= least:
        return ""
    return f"others used the processor: one thread had {100 * got:.0f} % of a core"


@dataclass(kw_only=True)
class Report:
    """A benchmark's results.

    Attributes:
        name: Of its files.
        settings: What was run: sizes, rows, threads, rounds.
        quick: Whether less was run than the benchmark asks for.
        facts: Whatever else was measured, by name.
        started: The clock when it began.
    """

    name: str
    title: str
    settings: dict[str, Any]
    quick: bool = False
    sections: list[Section] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> bool:
        """Whether a gate failed that could be measured here."""
        return any(gate.failed for gate in self.gates)

    def add(self, section: Section) -> None:
        """Add a comparison."""
        self.sections.append(section)

    def finish(self, folder: Path = RESULTS) -> int:
        """Write NAME.json and NAME.md, show the table; return the exit code."""
        print(self.write(folder))
        return int(self.failed)

    def write(self, folder: Path) -> str:
        """Write NAME.json and NAME.md; return the table."""
        about = _about(self)
        name = f"{self.name}-quick" if self.quick else self.name
        folder.mkdir(parents=True, exist_ok=True)
        text = as_markdown(self, about)
        values = as_json(self, about)
        (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        return text


@dataclass(frozen=True, kw_only=True)
class Section:
    """The ways of doing one piece of work.

    Attributes:
        samples: By name of the way, in the order they are shown.
        baseline: The way that ratios refer to.
        clock: Which seconds the ratios are of.
        unit: What the seconds are of: "32 rows".
    """

    title: str
    samples: Mapping[str, Sequence[Sample]]
    baseline: str
    clock: Clock = "cpu"
    unit: str = ""


def _about(report: Report) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": _command(sys.argv),
        "quick": report.quick,
        "seconds": round(time.monotonic() - report.started, 1),
        "hardware": hardware(),
        "versions": versions(),
        "settings": report.settings,
    }


def _command(given: Sequence[str]) -> str:
    """Return the command that repeats this; where results were put on this machine is left out."""
    told = " ".join(["python", f"benchmarks/{Path(given[0]).name}", *given[1:]])
    return re.sub(r" --out[= ]\S+", "", told)


def as_json(report: Report, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that was measured."""
    return {
        "name": report.name,
        "title": report.title,
        **about,
        "sections": [_section_json(section) for section in report.sections],
        "gates": [_gate_json(gate) for gate in report.gates],
        "facts": report.facts,
        "notes": report.notes,
    }


def _section_json(section: Section) -> dict[str, Any]:
    baseline = section.samples[section.baseline]
    variants = {
        name: {
            "wall_seconds": [_rounded(run.wall) for run in runs],
            "cpu_seconds": [_rounded(run.cpu) for run in runs],
            "times_faster": asdict(ratio(baseline, runs, section.clock)),
            "counters": runs[-1].counters,
        }
        for name, runs in section.samples.items()
        if runs
    }
    shown = {"title": section.title, "baseline": section.baseline, "clock": section.clock}
    return {**shown, "unit": section.unit, "variants": variants}


def _rounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds, 4)


def _gate_json(gate: Gate) -> dict[str, Any]:
    values = asdict(gate)
    return {**values, "failed": gate.failed, "verdict": gate.verdict}


def as_markdown(report: Report, about: Mapping[str, Any]) -> str:
    """Return the results as a Markdown page."""
    machine, used = about["hardware"], about["versions"]
    lines = [
        f"# {report.title}{' (quick: few rows, one round)' if report.quick else ''}",
        "",
        f"- Date: {about['date']}; `{about['command']}`; {about['seconds']:.0f} s in all",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB;"
        f" CPU flags: {', '.join(machine['flags']) or 'none of interest'};"
        f" GPU: {machine['gpu'] or 'none'}",
        "- Versions: " + ", ".join(f"{name} {number}" for name, number in used.items()),
        *(f"- {name}: {value}" for name, value in report.settings.items()),
        "",
        *_gate_table(report.gates),
    ]
    for section in report.sections:
        lines += _section_table(section)
    for name, value in report.facts.items():
        lines += [f"- {name}: {_fact(value)}"]
    lines += ["", *(f"Note: {note}" for note in report.notes)] if report.notes else []
    return "\n".join(lines).rstrip() + "\n"


def _gate_table(gates: Sequence[Gate]) -> list[str]:
    if not gates:
        return []
    rows = [
        f"| {gate.name} | {'>=' if gate.at_least else '<='} {_number(gate.required)}"
        f" | {'' if gate.aim is None else _number(gate.aim)} | {_measured(gate)} | {gate.verdict} |"
        for gate in gates
    ]
    head = ["| gate | required | aim | measured | verdict |", "| --- | --- | --- | --- | --- |"]
    return [*head, *rows, ""]


def _measured(gate: Gate) -> str:
    if gate.measured is None:
        return "-"
    return str(gate.spread) if gate.spread else _number(gate.measured)


def _section_table(section: Section) -> list[str]:
    baseline = section.samples[section.baseline]
    names = list(dict.fromkeys(k for runs in section.samples.values() for k in runs[-1].counters))
    clock = "processor" if section.clock == "cpu" else "clock"
    head = ["way", "runs", "processor s", "clock s", f"times faster ({clock})", *names]
    lines = [
        f"## {section.title}{f' ({section.unit})' if section.unit else ''}",
        "",
        f"| {' | '.join(head)} |",
        f"| {' | '.join(['---'] * len(head))} |",
    ]
    for name, runs in section.samples.items():
        counts = [_count(runs[-1].counters.get(counter)) for counter in names]
        cells = [
            name,
            str(len(runs)),
            str(spread([run.cpu for run in runs])),
            str(spread([run.wall for run in runs])),
            str(ratio(baseline, runs, section.clock)),
            *counts,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    if value and abs(value) < 1e-2:
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _count(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if value == int(value) else _number(value)


def parser(about: str, *, threads: int = 1, quick: bool = True) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark can be told."""
    made = argparse.ArgumentParser(description=about.splitlines()[0])
    if quick:
        made.add_argument("--quick", action="store_true", help="few rows, one round; same gates")
    made.add_argument("--threads", type=int, default=threads, help="CPU threads of torch")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return made
