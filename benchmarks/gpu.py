"""One GPU, one call under eight minutes: the published study's work at OPT-350M's shape.

    python benchmarks/gpu.py [--budget 450] [--only generation,scoring,same,dpo,sft]

400 responses and 400 scores in float32; ten updates in float32 with CUDA graphs and without; slices
of DPO and SFT at 8 samples an update by our code in bf16, by stock TRL with its defaults (bf16) and
as the notebooks used it (float32); what a training takes outside its updates; peak memory; the
whole study extrapolated. Weights are random, rows are real (ALIGNSTUDY_HH_DIR), the tokenizer is
OPT's (ALIGNSTUDY_TOKENIZER_DIR). No part needs another, and results are written after each: a call
that is cut off leaves what it had. `--tiny --device cpu` runs the same on models that fit anywhere.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import notebook_way
import ours
from cpu import SETTINGS
from harness import Sample, Side, both_sides
from machine import gpu_name
from materials import (
    all_test_pairs,
    differing_tokens,
    published_prompts,
    published_responses,
    whole_texts,
    write_judge,
    write_opt_350m,
)
from results import Report, Section, at_least, at_most, parser

SFT_STEPS, DPO_STEPS, PAIRS = 40_200, 20_100, 160_800
"""Updates of 8 samples in the published study: 2 epochs of SFT, DPO twice; its pairs."""

REFERENCED = 1000
"""Pairs of a slice of DPO: the reference of all would take its share of the time."""

SHORT = 200
"""Most characters of a row, in a test of this script."""

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
OURS, STOCK, NOTEBOOK = "ours, bf16", "TRL's defaults, bf16", "notebook: TRL, 2 x 4, float32"
GATES = {"sft": (30.0, 14.0), "dpo": (20.0, 9.0)}
"""Milliseconds of an update: what is required, what is aimed at."""

TOLD_EVERY = 16
"""Updates after which a GPU's clock is read; see `ledger.READ_EVERY`."""


def main() -> int:
    """Measure, write the results, return the exit code."""
    asked = _arguments()
    if asked.device != "cpu" and not gpu_name():
        sys.exit("there is no GPU here; `--tiny --device cpu` tests this script without one")
    model = "tiny (a test of this script)" if asked.tiny else "OPT-350M's shape, random weights"
    settings = {
        "Model": model,
        "Rows": "HH-RLHF, test splits, 8 samples an update",
        "Device": asked.device,
    }
    name, title = "gpu-tiny" if asked.tiny else "gpu", "One GPU: slices of the published study"
    report = Report(name=name, title=title, settings=settings)
    with both_sides(asked.threads) as (scratch, theirs, mine):
        slices = Slices(asked, report, scratch, theirs, mine)
        wanted = asked.only.split(",") if asked.only else list(slices.parts)
        for part in wanted:
            slices.make(part)
        slices.extrapolate()
    if asked.tiny:
        why = "tiny models test this script, not the machine"
        report.gates = [replace(gate, not_measurable=why) for gate in report.gates]
    return max(report.finish(asked.out), int(bool(slices.failed)))


def _arguments() -> Any:
    made = parser(__doc__ or "", threads=8)
    made.add_argument("--device", default="cuda")
    made.add_argument("--tiny", action="store_true", help="tiny models: a test of this script")
    made.add_argument("--only", default="", help="parts, separated by commas")
    made.add_argument("--budget", type=float, default=450.0, help="seconds for all")
    asked = made.parse_args()
    asked.short, asked.most = (4, 6) if asked.tiny else (3 * TOLD_EVERY, 1000)
    asked.stock_steps, asked.untimed = (2, 1) if asked.tiny else (24, 8)
    return asked


@dataclass(kw_only=True)
class Slice:
    """What one way of training took.

    Attributes:
        step: Seconds an update, steady.
        steps: How many were timed.
        reference_a_pair: Seconds of the reference's pass over a pair, made before the first update.
        checkpoint: Seconds of one checkpoint.
        outside: Seconds of a training outside its updates, reference and checkpoint.
        peak: GiB of the GPU's memory.
        notes: What the training said.
    """

    step: float
    steps: int
    reference_a_pair: float = 0.0
    checkpoint: float = 0.0
    outside: float = 0.0
    peak: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def thousand(self) -> Sample:
        """A thousand updates."""
        return Sample(wall=1000 * self.step, cpu=1000 * self.step, counters=self.counters)

    def __str__(self) -> str:
        text = f"{1000 * self.step:.2f} ms an update over {self.steps}; peak {self.peak:.1f} GiB"
        if self.reference_a_pair:
            text += f"; reference {1000 * self.reference_a_pair:.2f} ms a pair"
        if self.outside:
            text += f"; a checkpoint {self.checkpoint:.1f} s; all else {self.outside:.1f} s"
        return "; ".join([text, *(note for note in self.notes if "CUDA" in note)])


class Slices:
    """The parts of the measurement, in the order of their worth.

    Attributes:
        parts: By name.
        failed: Names of those that raised an error.
    """

    def __init__(self, asked: Any, report: Report, scratch: Path, theirs: Side, mine: Side) -> None:
        self.asked, self.report, self.scratch = asked, report, scratch
        self.theirs, self.mine = theirs, mine
        self.ends = time.monotonic() + asked.budget
        shape = {**TINY, "word_embed_proj_dim": 16} if asked.tiny else {}
        self.model = write_opt_350m(scratch / "opt", std=0.012, **shape)
        self.rows = all_test_pairs()
        if asked.tiny:
            self.rows = [r for r in self.rows if max(map(len, whole_texts(r))) < SHORT][:16]
        self.found: dict[str, dict[str, Slice]] = {}
        self.seconds: dict[str, dict[str, float]] = {"ours": {}, "one by one": {}}
        self.parts: dict[str, Callable[[], None]] = {
            "generation": self.write,
            "scoring": self.score,
            "same": self.same,
            "dpo": lambda: self.train("dpo", share=0.5),
            "sft": lambda: self.train("sft", share=0.9),
        }
        self.failed: list[str] = []

    def make(self, part: str) -> None:
        """Make a part; one that fails is told, and the others are made."""
        try:
            self.parts[part]()
        except Exception as error:
            traceback.print_exc()
            self.failed.append(part)
            said = str(error).splitlines()[0] if str(error) else ""
            self.report.notes.append(f"The part {part} failed: {type(error).__name__}: {said}")
            if isinstance(error, BrokenProcessPool):
                self.theirs, self.mine = Side(self.asked.threads), Side(self.asked.threads)
        self.report.write(self.asked.out)

    def train(self, method: str, *, share: float) -> None:
        """Train by all ways; ours takes a share of the seconds that TRL's leave."""
        asked, name, ends = self.asked, method.upper(), self.ends
        wanted = {name: SETTINGS[method][name] for name in ("max_length", "learning_rate")}
        wanted["max_steps"] = asked.untimed + asked.stock_steps
        rows = self.rows[: 8 * wanted["max_steps"]]
        found = {OURS: self._ours(method, share * (ends - time.monotonic()) / 2)}
        self.found[method] = found
        for way, told in ((STOCK, notebook_way.TRL_DEFAULTS), (NOTEBOOK, notebook_way.NOTEBOOK)):
            options = {**told, **wanted, "bf16": way == STOCK}
            given = {"options": options, "work": self.scratch / "trl", "device": asked.device}
            sample = self.theirs.call(notebook_way.train, method, self.model, rows, **given)
            step, steps = steady(sample.found["marks"], asked.untimed, every=1)
            found[way] = Slice(
                step=step, steps=steps, peak=self.theirs.call(peak), counters=sample.counters
            )
        samples = {way: [found[way].thousand] for way in (NOTEBOOK, STOCK, OURS)}
        self.report.sections.append(
            Section(title=f"{name}, a thousand updates, steady", samples=samples, clock="wall")
        )
        self.report.facts |= {f"{name}, {way}": str(part) for way, part in found.items()}
        mine, (required, aim) = found[OURS], GATES[method]
        self.report.gates += [
            at_most(f"{name}: ms an update", 1000 * mine.step, required, aim),
            at_least(f"{name}: times TRL's defaults", found[STOCK].step / mine.step, 10.0),
            at_most(f"{name}: seconds outside of updates", mine.outside, 8.0),
        ]
        if mine.reference_a_pair:
            a_pair = 1000 * mine.reference_a_pair
            self.report.gates.append(at_most(f"{name}: reference, ms a pair", a_pair, 1.0, 0.4))

    def _ours(self, method: str, most_seconds: float) -> Slice:
        """Train shortly, then as long as there is time, each to its end."""
        asked, settings = self.asked, {**SETTINGS[method], "precision": "bf16"}
        rows = self.rows[:REFERENCED] if method == "dpo" else self.rows
        given = {"device": asked.device}
        short = self.mine.call(
            ours.train, method, self.model, rows, settings | {"max_steps": asked.short}, **given
        )
        step, _ = steady(short.found["marks"], asked.short // 2, every=TOLD_EVERY)
        left = most_seconds - short.found["outside"] - short.found["checkpoint"]
        steps = int(max(asked.short, min(asked.most, left / step)))
        steps = min(steps, asked.most)
        sample = self.mine.call(
            ours.train, method, self.model, rows, settings | {"max_steps": steps}, **given
        )
        step, timed = steady(sample.found["marks"], steps // 4, every=TOLD_EVERY)
        asked_pairs = short.counters["reference pairs"]
        return Slice(
            step=step,
            steps=timed,
            reference_a_pair=short.found["reference"] / asked_pairs if asked_pairs else 0.0,
            checkpoint=sample.found["checkpoint"],
            outside=sample.found["outside"],
            peak=self.mine.call(peak),
            counters=sample.counters,
            notes=sample.found["notes"],
        )

    def same(self) -> None:
        """Make ten updates in float32, with graphs and without."""
        rows, given = self.rows[:80], {"device": self.asked.device}
        for method in ("sft", "dpo"):
            settings = {**SETTINGS[method], "precision": "fp32", "max_steps": 10, "dropout": "off"}
            ran = [
                self.mine.call(way, method, self.model, rows, settings, **given)
                for way in (ours.train, ours.train_without_graphs)
            ]
            one, other = (sample.found["losses"] for sample in ran)
            apart = max(abs(a - b) / abs(b) for a, b in zip(one, other, strict=True))
            self.report.gates.append(
                at_most(f"{method.upper()}: ten losses, graphs or not, relative", apart, 1e-6)
            )
            notes = [note for note in ran[0].found["notes"] if "CUDA" in note]
            by = "no CUDA graphs on a CPU" if self.asked.device == "cpu" else "by CUDA graphs"
            self.report.facts[f"{method.upper()}, float32"] = "; ".join(notes) or by

    def write(self) -> None:
        """Let four models answer 100 prompts; the notebooks' way answers a few of them."""
        prompts, new, count = published_prompts(), 50, 10
        if self.asked.tiny:
            prompts, new, count = prompts[:6], 4, 2
        few, given = prompts[:count], {"max_new_tokens": new, "device": self.asked.device}
        for side, way in ((self.theirs, notebook_way.generate), (self.mine, ours.generate)):
            side.call(way, self.model, few[:2], **given)  # loads libraries and kernels
        alone = self.theirs.call(notebook_way.generate, self.model, few, **given)
        runs = [self.mine.call(ours.generate, self.model, prompts, **given) for _ in range(4)]
        seconds = sum(sample.wall for sample in runs)
        scaled = alone.wall / len(few) * 4 * len(prompts)
        self.seconds["ours"]["generation"] = seconds
        self.seconds["one by one"]["generation"] = scaled
        differ = differing_tokens(self.model, alone.found, runs[0].found[: len(few)])
        self.report.gates += [
            at_most("Seconds of 400 responses, float32", seconds, 8.0),
            at_most(f"Differing tokens, {len(few)} prompts", differ, 0),
        ]
        self.report.facts["Generation"] = (
            f"4 x {len(prompts)} responses in {seconds:.1f} s, one by one {scaled:.0f} s (from"
            f" {len(few)} prompts); peak {self.mine.call(peak):.1f} GiB"
        )

    def score(self) -> None:
        """Score 400 responses; the notebooks' way scores a few of them."""
        tiny, given = self.asked.tiny, {"device": self.asked.device}
        judge = write_judge(self.scratch / "judge", **(TINY if tiny else {}))
        pairs = published_responses(empty_ones=True)[: 8 if tiny else 400]
        few = pairs[: 4 if tiny else 40]
        for side, way in ((self.theirs, notebook_way.score), (self.mine, ours.score)):
            side.call(way, judge, few[:2], **given)
        alone = self.theirs.call(notebook_way.score, judge, few, **given)
        sample = self.mine.call(ours.score, judge, pairs, **given)
        scaled = alone.wall / len(few) * len(pairs)
        self.seconds["ours"]["scoring"] = sample.wall
        self.seconds["one by one"]["scoring"] = scaled
        worst = max(abs(a - b) for a, b in zip(alone.found, sample.found, strict=False))
        self.report.gates += [
            at_most("Seconds of 400 scores, float32", sample.wall, 5.0),
            at_most("Largest difference of scores", worst, 1e-5),
        ]
        self.report.facts["Scoring"] = (
            f"{len(pairs)} scores in {sample.wall:.2f} s, one by one {scaled:.1f} s (from"
            f" {len(few)}); peak {self.mine.call(peak):.1f} GiB"
        )

    def extrapolate(self) -> None:
        """Add up the whole published study by each way that was measured."""
        for way in (NOTEBOOK, STOCK, OURS):
            given = self.seconds["ours" if way == OURS else "one by one"]
            trained = [self.found.get(method, {}).get(way) for method in ("sft", "dpo")]
            if len(given) < 2 or None in trained:
                self.report.notes.append(f"Not all was measured that the study takes by: {way}.")
                continue
            sft, dpo = (part for part in trained if part is not None)
            once = DPO_STEPS * dpo.step + PAIRS * dpo.reference_a_pair + dpo.outside
            parts = {
                "SFT": SFT_STEPS * sft.step + sft.outside + checkpoints(SFT_STEPS, sft),
                "DPO, twice": 2 * (once + checkpoints(DPO_STEPS, dpo)),
                **given,
            }
            total = sum(parts.values())
            shown = ", ".join(f"{name} {value:,.0f}" for name, value in parts.items())
            self.report.facts[f"Whole study, {way} (s, extrapolated)"] = f"{total:,.0f} ({shown})"
            if way == OURS:
                gate = at_most("Whole study, extrapolated (s)", total, 2400, aim=1200)
                self.report.gates.append(gate)
        self.report.notes.append(
            "The extrapolation takes 40,200 updates of SFT and twice 20,100 of DPO with the"
            " reference of 160,800 pairs, a checkpoint every 500 updates or 20 seconds, what a"
            " training takes beside them, 400 responses and 400 scores. Rows of the test splits"
            " stand for the training rows."
        )


def steady(marks: Sequence[float], untimed: int, *, every: int) -> tuple[float, int]:
    """Return the seconds an update, and of how many, from the clock at the start and after each.

    Args:
        marks: The clock; it is read at every so many updates, and after the last.
        untimed: Updates that warm up; fewer where hardly more were made.
        every: Updates between two looks at the clock.

    Raises:
        RuntimeError: If no update was made.
    """
    last = len(marks) - 1
    if last < 1:
        raise RuntimeError("no update was made in the time given")
    first = -(-untimed // every) * every
    first = first if first < last else 0
    return (marks[last] - marks[first]) / (last - first), last - first


def checkpoints(steps: int, part: Slice) -> float:
    """Return the seconds of a training's checkpoints: every 500 updates, but 20 seconds apart."""
    return min(steps // 500, steps * part.step / 20) * part.checkpoint


def peak() -> float:
    """Return the GiB that were most taken of the GPU in this process since the last call."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return most


if __name__ == "__main__":
    sys.exit(main())
