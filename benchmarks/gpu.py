"""One GPU, one call under ten minutes: the published study's work at OPT-350M's shape.

    python benchmarks/gpu.py [--steps 2000] [--budget 560]

Slices of SFT and DPO at 8 samples an update by our code in bf16, by stock TRL with its defaults
(bf16) and as the notebooks used it (float32); 400 responses, 400 scores in float32; peak memory;
the whole study extrapolated. Weights are random, rows are real (ALIGNSTUDY_HH_DIR), the tokenizer
is OPT's (ALIGNSTUDY_TOKENIZER_DIR). Results are written after every part: a call that is cut off
leaves what it had. `--tiny --device cpu` runs the same on models that fit anywhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
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

SHORT = 200
"""Most characters of a row, in a test of this script."""

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
OURS, STOCK, NOTEBOOK = "ours, bf16", "TRL's defaults, bf16", "notebook: TRL, 2 x 4, float32"


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
        "Steps": f"{asked.steps} (TRL: {asked.stock_steps} after {asked.untimed} to warm up)",
    }
    name, title = "gpu-tiny" if asked.tiny else "gpu", "One GPU: slices of the published study"
    report = Report(name=name, title=title, settings=settings)
    with both_sides(asked.threads) as (scratch, theirs, mine):
        slices = Slices(asked, report, scratch, theirs, mine)
        slices.train("sft", share=0.25)
        slices.train("dpo", share=0.35)
        slices.write()
        slices.score()
        slices.extrapolate()
    if asked.tiny:
        why = "tiny models test this script, not the machine"
        report.gates = [replace(gate, not_measurable=why) for gate in report.gates]
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "", threads=8)
    made.add_argument("--device", default="cuda")
    made.add_argument("--tiny", action="store_true", help="tiny models: a test of this script")
    made.add_argument("--steps", type=int, help="of our slices; 2000, tiny: 4")
    made.add_argument("--budget", type=float, default=560.0, help="seconds for all")
    asked = made.parse_args()
    asked.steps = asked.steps or (4 if asked.tiny else 2000)
    asked.stock_steps, asked.untimed = (2, 1) if asked.tiny else (40, 20)
    asked.warm_up = 1 if asked.tiny else min(200, asked.steps // 4)
    return asked


@dataclass(kw_only=True)
class Slice:
    """What one way of training took.

    Attributes:
        step: Seconds an update, steady.
        steps: How many were timed.
        warm_up: Seconds that the first updates took beyond `step` each: compilation.
        reference_a_pair: Seconds of the reference's pass over a pair, made before the first update.
        checkpoint: Seconds from the last update to the end of the loop: one checkpoint.
        peak: GiB of the GPU's memory.
    """

    step: float
    steps: int
    warm_up: float = 0.0
    reference_a_pair: float = 0.0
    checkpoint: float = 0.0
    peak: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)

    @property
    def thousand(self) -> Sample:
        """A thousand updates."""
        return Sample(wall=1000 * self.step, cpu=1000 * self.step, counters=self.counters)

    def __str__(self) -> str:
        text = f"{1000 * self.step:.2f} ms an update over {self.steps}; peak {self.peak:.1f} GiB"
        if self.warm_up:
            text += f"; warm-up and compilation {self.warm_up:.1f} s"
        if self.reference_a_pair:
            text += f"; reference {1000 * self.reference_a_pair:.2f} ms a pair"
        return text + (f"; a checkpoint {self.checkpoint:.1f} s" if self.checkpoint else "")


class Slices:
    """The parts of the measurement, in the order of their worth."""

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

    def train(self, method: str, *, share: float) -> None:
        """Train by all ways; ours stops after a share of the seconds that are left."""
        asked, name = self.asked, method.upper()
        settings = {**SETTINGS[method], "precision": "bf16", "max_steps": asked.steps}
        left = max(5.0, share * (self.ends - time.monotonic()))
        given = {"settings": settings, "most_seconds": left}
        mine = self._slice(self.mine, ours.train, method, self.rows, asked.warm_up, **given)
        wanted = {name: SETTINGS[method][name] for name in ("max_length", "learning_rate")}
        wanted["max_steps"] = asked.untimed + asked.stock_steps
        rows = self.rows[: 8 * wanted["max_steps"]]
        found = {}
        for way, told in ((NOTEBOOK, notebook_way.NOTEBOOK), (STOCK, notebook_way.TRL_DEFAULTS)):
            options = {**told, **wanted, "bf16": way == STOCK}
            given = {"options": options, "work": self.scratch / "trl"}
            trl = notebook_way.train
            found[way] = self._slice(self.theirs, trl, method, rows, asked.untimed, **given)
        found[OURS] = mine
        self.found[method] = found
        samples = {way: [part.thousand] for way, part in found.items()}
        self.report.sections.append(
            Section(title=f"{name}, a thousand updates, steady", samples=samples, clock="wall")
        )
        self.report.facts |= {f"{name}, {way}": str(part) for way, part in found.items()}
        stock, notebook = (found[way].step / mine.step for way in (STOCK, NOTEBOOK))
        self.report.gates += [
            at_most(f"{name}: seconds of 2,000 updates", 2000 * mine.step, 30.0),
            at_least(f"{name}: times TRL's defaults", stock, 8.0),
            at_least(f"{name}: times the notebooks' way", notebook, 8.0),
        ]
        self.report.write(asked.out)

    def _slice(
        self, side: Side, train: Any, method: str, rows: Sequence[Any], untimed: int, **given: Any
    ) -> Slice:
        """Train; the first `untimed` updates warm up."""
        sample = side.call(train, method, self.model, rows, device=self.asked.device, **given)
        marks = sample.found["marks"]
        steps = len(marks) - 1 - untimed
        if steps < 1:
            sys.exit(f"{len(marks) - 1} updates in the time given; {untimed} are needed to warm up")
        step = (marks[-1] - marks[untimed]) / steps
        return Slice(
            step=step,
            steps=steps,
            warm_up=max(0.0, marks[untimed] - marks[0] - untimed * step),
            reference_a_pair=sample.found["reference"] / len(rows),
            checkpoint=sample.found["checkpoint"],
            peak=side.call(peak),
            counters=sample.counters,
        )

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
        self.report.write(self.asked.out)

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
        self.report.write(self.asked.out)

    def extrapolate(self) -> None:
        """Add up the whole published study by each way."""
        for way in (NOTEBOOK, STOCK, OURS):
            sft, dpo = self.found["sft"][way], self.found["dpo"][way]
            once = DPO_STEPS * dpo.step + dpo.warm_up + PAIRS * dpo.reference_a_pair
            parts = {
                "SFT": SFT_STEPS * sft.step + sft.warm_up + SFT_STEPS // 500 * sft.checkpoint,
                "DPO, twice": 2 * (once + DPO_STEPS // 500 * dpo.checkpoint),
                **self.seconds["ours" if way == OURS else "one by one"],
            }
            total = sum(parts.values())
            shown = ", ".join(f"{name} {value:,.0f}" for name, value in parts.items())
            self.report.facts[f"Whole study, {way} (s, extrapolated)"] = f"{total:,.0f} ({shown})"
        self.report.gates.append(at_most("Whole study, extrapolated (s)", total, 1250, aim=900))
        self.report.notes.append(
            "The extrapolation takes 40,200 updates of SFT and twice 20,100 of DPO with the"
            " reference of 160,800 pairs, a checkpoint every 500 updates, compilation, 400"
            " responses and 400 scores; reading models and data is not in it. Rows of the test"
            " splits stand for the training rows."
        )


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
