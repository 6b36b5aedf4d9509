"""What was measured, its gates, and the two files that keep it: NAME.json and NAME.md."""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harness import Sample
from machine import hardware, versions

RESULTS = Path(__file__).resolve().parent / "results"

Clock = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Spread:
    """A median with the least and the largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high or math.isnan(self.median):
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)}-{number(self.high)})"


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and largest."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(before: Sequence[Sample], after: Sequence[Sample], clock: Clock = "cpu") -> Spread:
    """Return how many times less `after` took.

    The median is the ratio of medians; the spread is that of the rounds that both have, or, where
    one way was run less often, of the old way's median to each of the new.
    """
    old, new = ([getattr(one, clock) for one in side] for side in (before, after))
    median = statistics.median(old)
    paired = old if len(old) == len(new) else [median] * len(new)
    ratios = [b / a for b, a in zip(paired, new, strict=True)]
    return replace(spread(ratios), median=median / statistics.median(new))


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A number that must be reached.

    Attributes:
        measured: None where it wasn't measured.
        required: What the median of `measured` must reach.
        aim: What is aimed at; missing it fails nothing.
        at_least: False: `measured` must not be above `required`.
        not_measurable: Why this machine can't show it, with the number that says so.
    """

    name: str
    measured: Spread | None
    required: float
    aim: float | None = None
    at_least: bool = True
    not_measurable: str = ""

    def reaches(self, bound: float) -> bool:
        """Whether it was measured and reaches a bound."""
        if self.measured is None:
            return False
        found = self.measured.median
        return found >= bound if self.at_least else found <= bound

    @property
    def failed(self) -> bool:
        """Whether it could be measured here and is not reached."""
        return self.verdict == "FAILED"

    @property
    def verdict(self) -> str:
        """The gate's state in words."""
        if self.not_measurable:
            return f"not measurable here: {self.not_measurable}"
        if not self.reaches(self.required):
            return "FAILED"
        return "passed, aim reached" if self.aim and self.reaches(self.aim) else "passed"

    @property
    def cells(self) -> list[str]:
        """Name, what is required, what is aimed at, what was measured, verdict."""
        required = f"{'>=' if self.at_least else '<='} {number(self.required)}"
        aim, measured = number(self.aim), str(self.measured or "-")
        return [self.name, required, aim, measured, self.verdict]

    def as_json(self) -> dict[str, Any]:
        """Return all there is to say; the median is `measured`."""
        measured = None if self.measured is None else self.measured.median
        values = asdict(self) | {"measured": measured, "verdict": self.verdict}
        return values | {"spread": self.measured and asdict(self.measured), "failed": self.failed}


def at_least(
    name: str,
    found: Spread | float | None,
    required: float,
    aim: float | None = None,
    *,
    unless: str = "",
) -> Gate:
    """Make a gate on how many times faster.

    Args:
        name: What is gated.
        found: As `ratio` gives it; None where it wasn't measured.
        required: The least.
        aim: What is aimed at.
        unless: Why a number below `required` says nothing about the code on this machine, as
            measured; empty where there is no such reason.
    """
    measured = spread([found]) if isinstance(found, int | float) else found
    gate = Gate(name=name, measured=measured, required=required, aim=aim)
    return gate if gate.reaches(required) else replace(gate, not_measurable=unless)


def at_most(name: str, measured: float, required: float, aim: float | None = None) -> Gate:
    """Make a gate on a number that must not be above another."""
    found = spread([measured])
    return Gate(name=name, measured=found, required=required, aim=aim, at_least=False)


@dataclass(frozen=True, kw_only=True)
class Section:
    """The ways of doing one piece of work.

    Attributes:
        samples: By name of the way, in the order they are shown; ratios refer to the first.
        clock: Which seconds the ratios are of.
        unit: What the seconds are of: "32 rows".
    """

    title: str
    samples: Mapping[str, Sequence[Sample]]
    clock: Clock = "cpu"
    unit: str = ""

    def times_faster(self, way: str) -> Spread:
        """Return how many times less a way took than the first."""
        return ratio(next(iter(self.samples.values())), self.samples[way], self.clock)

    def as_json(self) -> dict[str, Any]:
        """Return all that was measured."""
        variants = {
            way: {
                "wall_seconds": [round(run.wall, 4) for run in runs],
                "cpu_seconds": [None if math.isnan(r.cpu) else round(r.cpu, 4) for r in runs],
                "times_faster": asdict(self.times_faster(way)),
                "counters": runs[-1].counters,
            }
            for way, runs in self.samples.items()
        }
        shown = {"title": self.title, "baseline": next(iter(variants)), "clock": self.clock}
        return {**shown, "unit": self.unit, "variants": variants}

    def as_markdown(self) -> str:
        """Return the table, a line a way."""
        counters = {name: "" for runs in self.samples.values() for name in runs[-1].counters}
        clock = "processor" if self.clock == "cpu" else "clock"
        rows = []
        for way, runs in self.samples.items():
            cpu, wall = (spread([getattr(run, kind) for run in runs]) for kind in ("cpu", "wall"))
            counts = {name: number(count) for name, count in runs[-1].counters.items()}
            times = self.times_faster(way)
            rows.append([way, len(runs), cpu, wall, times, *(counters | counts).values()])
        head = ["way", "runs", "processor s", "clock s", f"times faster ({clock})", *counters]
        title = f"## {self.title}{f' ({self.unit})' if self.unit else ''}"
        return f"{title}\n\n{table(head, rows)}"


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
    settings: dict[str, Any] = field(default_factory=dict)
    quick: bool = False
    sections: list[Section] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def finish(self, folder: Path = RESULTS) -> int:
        """Write the files, show the table; return the exit code."""
        print(self.write(folder))
        return int(any(gate.failed for gate in self.gates))

    def write(self, folder: Path) -> str:
        """Write NAME.json and NAME.md; return the latter."""
        # The command repeats this run; where things lie on this machine is left out.
        command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
        command = re.sub(r"(--against)[= ]\S+", r"\1 SRC", command)
        values = {
            "name": self.name,
            "title": self.title,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "command": re.sub(r" --out[= ]\S+", "", command),
            "quick": self.quick,
            "seconds": round(time.monotonic() - self.started, 1),
            "hardware": hardware(),
            "versions": versions(),
            "settings": self.settings,
            "sections": [section.as_json() for section in self.sections],
            "gates": [gate.as_json() for gate in self.gates],
            "facts": self.facts,
            "notes": self.notes,
        }
        text = self._as_markdown(values)
        name = f"{self.name}-quick" if self.quick else self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        return text

    def _as_markdown(self, values: Mapping[str, Any]) -> str:
        machine, used = values["hardware"], values["versions"]
        head, gates = ["gate", "required", "aim", "measured", "verdict"], self.gates
        lines = [
            f"# {self.title}{' (quick: few rows, one round)' if self.quick else ''}",
            "",
            f"- Date: {values['date']}; `{values['command']}`; {values['seconds']:.0f} s in all",
            f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB;"
            f" CPU flags: {', '.join(machine['flags']) or 'none of interest'};"
            f" GPU: {machine['gpu'] or 'none'}",
            "- Versions: " + ", ".join(f"{name} {version}" for name, version in used.items()),
            *(f"- {name}: {value}" for name, value in self.settings.items()),
            "",
            *([table(head, [gate.cells for gate in gates])] if gates else []),
            *(section.as_markdown() for section in self.sections),
            *(f"- {name}: {_fact(value)}" for name, value in self.facts.items()),
            "",
            *(f"Note: {note}" for note in self.notes),
        ]
        return "\n".join(lines).rstrip() + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table with an empty line below."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines) + "\n"


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    return number(value) if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """Write a number in few digits, a count in all; what isn't known as nothing."""
    if value is None or math.isnan(value):
        return ""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1e}" if value and abs(value) < 1e-2 else f"{value:.2f}"


def parser(about: str, *, threads: int = 1) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark has."""
    made = argparse.ArgumentParser(description=about.splitlines()[0])
    made.add_argument("--threads", type=int, default=threads, help="CPU threads of torch")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return made
