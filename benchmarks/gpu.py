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
from harness import Gate, Report, Sample, Section, Side, at_most, both_sides, parser
from machine import gpu_name
from materials import (
    all_test_pairs,
    published_prompts,
    published_responses,
    texts_of,
    whole_texts,
    write_judge,
    write_opt_350m,
)
from training import SETTINGS

SFT_STEPS, DPO_STEPS, PAIRS = 40_200, 20_100, 160_800
"""Updates of 8 samples in the published study: 2 epochs of SFT, DPO twice; its pairs."""

SHORT = 200
"""Most characters of a row, in a test of this script."""

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
OURS, STOCK, NOTEBOOK = "ours, bf16", "TRL's defaults, bf16", "notebook: TRL, 2 x 4, float32"


def main() -> int:
    """Measure, write the results, give the exit code."""
    asked = _arguments()
    if asked.device != "cpu" and not gpu_name():
        sys.exit("there is no GPU here; `--tiny --device cpu` tests this script without one")
    settings = {
        "Model": "tiny (a test of this script)"
        if asked.tiny
        else "OPT-350M's shape, random weights",
        "Rows": "HH-RLHF, test splits, 8 samples an update",
        "Device": asked.device,
        "Steps": f"{asked.steps} (TRL: {asked.stock_steps} after {asked.apart} to warm up)",
    }
    report = Report(
        name="gpu-tiny" if asked.tiny else "gpu", settings=settings,
        title="One GPU: slices of the published study",
    )  # fmt: skip
    with both_sides(asked.threads) as (scratch, theirs, mine):
        Slices(asked, report, scratch, theirs, mine).measure()
    if asked.tiny:
        why = "tiny models test this script, not the machine"
        report.gates = [replace(gate, not_measurable=why) for gate in report.gates]
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "", threads=8, quick=False)
    made.add_argument("--device", default="cuda")
    made.add_argument("--tiny", action="store_true", help="tiny models: a test of this script")
    made.add_argument("--steps", type=int, help="of our slices; 2000, tiny: 4")
    made.add_argument("--budget", type=float, default=560.0, help="seconds for all")
    asked = made.parse_args()
    asked.steps = asked.steps or (4 if asked.tiny else 2000)
    asked.stock_steps, asked.apart = (2, 1) if asked.tiny else (40, 20)
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


class Slices:
    """The parts of the measurement, in the order of their worth."""

    def __init__(self, asked: Any, report: Report, scratch: Path, theirs: Side, mine: Side) -> None:
        self.asked, self.report, self.scratch = asked, report, scratch
        self.theirs, self.mine = theirs, mine
        self.began = time.monotonic()
        shape = {**TINY, "word_embed_proj_dim": 16} if asked.tiny else {}
        self.model = write_opt_350m(scratch / "opt", std=0.012, **shape)
        rows = all_test_pairs()
        if asked.tiny:
            rows = [row for row in rows if max(map(len, whole_texts(row))) < SHORT][:16]
        self.rows = rows
        self.found: dict[str, Slice] = {}
        self.seconds: dict[str, float] = {}

    def measure(self) -> None:
        """Run all parts; what fails is written down and fails the whole."""
        self._train("sft", share=0.25)
        self._train("dpo", share=0.35)
        self._write()
        self._score()
        self._extrapolate()

    def _left(self, share: float) -> float:
        """Return a share of the seconds that are left."""
        return max(5.0, share * (self.asked.budget - (time.monotonic() - self.began)))

    def _keep(self) -> None:
        """Write what there is so far."""
        self.report.write(self.asked.out)

    def _train(self, method: str, *, share: float) -> None:
        found = self.found
        found[f"{method}/ours"] = self._ours(method, share=share)
        found[f"{method}/stock"] = self._stock(method, notebook_way.TRL_DEFAULTS, bf16=True)
        found[f"{method}/notebook"] = self._stock(method, notebook_way.NOTEBOOK, bf16=False)
        self._gates(method)
        self._keep()

    def _ours(self, method: str, *, share: float) -> Slice:
        asked = self.asked
        told = {**SETTINGS[method], "precision": "bf16", "max_steps": asked.steps}
        sample, peak = self.mine.call(
            with_peak, ours.train, method, told, self.model, self.rows, device=asked.device,
            most_seconds=self._left(share),
        )  # fmt: skip
        return slice_of(sample, peak, warm_up=asked.warm_up, num_pairs=len(self.rows))

    def _stock(self, method: str, options: dict[str, Any], *, bf16: bool) -> Slice:
        asked = self.asked
        told = {name: SETTINGS[method][name] for name in ("max_length", "learning_rate")}
        steps = asked.apart + asked.stock_steps
        rows = texts_of(method, self.rows[: 8 * steps])
        sample, peak = self.theirs.call(
            with_peak, notebook_way.TRAINERS[method], self.model, rows, self.scratch / "trl",
            options={**options, **told, "bf16": bf16, "max_steps": steps},
            device=asked.device, steps_apart=asked.apart,
        )  # fmt: skip
        return Slice(
            step=sample.wall / asked.stock_steps, steps=asked.stock_steps, peak=peak,
            counters=sample.counters,
        )  # fmt: skip

    def _gates(self, method: str) -> None:
        name = method.upper()
        mine, stock, notebook = (self.found[f"{method}/{way}"] for way in
                                 ("ours", "stock", "notebook"))  # fmt: skip
        ways = {NOTEBOOK: notebook, STOCK: stock, OURS: mine}
        self.report.add(
            Section(
                title=f"{name}, a thousand updates, steady", baseline=NOTEBOOK, clock="wall",
                samples={way: [_a_thousand(part)] for way, part in ways.items()},
            )
        )  # fmt: skip
        for way, part in ways.items():
            self.report.facts[f"{name}, {way}"] = _in_words(part)
        self.report.gates += [
            at_most(f"{name}: seconds of 2,000 updates", 2000 * mine.step, 30.0),
            Gate(name=f"{name}: times TRL's defaults", measured=stock.step / mine.step,
                 required=8.0),
            Gate(name=f"{name}: times the notebooks' way", measured=notebook.step / mine.step,
                 required=8.0),
        ]  # fmt: skip

    def _write(self) -> None:
        """Let four models answer 100 prompts; the notebooks' way answers a few of them."""
        asked = self.asked
        prompts = published_prompts()[: 6 if asked.tiny else None]
        new = 4 if asked.tiny else 50
        few = prompts[: 2 if asked.tiny else 10]
        for kind in (self.mine, self.theirs):  # the first call loads libraries and kernels
            kind.call(warm, self.model, few[:2], asked.device, ours_too=kind is self.mine)
        alone = self.theirs.call(
            notebook_way.generate, self.model, [p.text for p in few], max_new_tokens=new,
            device=asked.device,
        )  # fmt: skip
        runs = [
            self.mine.call(
                with_peak, ours.generate, self.model, prompts, max_new_tokens=new,
                device=asked.device,
            )
            for _ in range(4)
        ]  # fmt: skip
        seconds = sum(sample.wall for sample, _ in runs)
        self.seconds["generation"] = seconds
        scaled = alone.wall / len(few) * 4 * len(prompts)
        self.seconds["generation, one by one"] = scaled
        self.report.gates.append(at_most("Seconds of 400 responses, float32", seconds, 8.0))
        from generation import differing_tokens

        differ = differing_tokens(self.model, alone.found, runs[0][0].found[: len(few)])
        self.report.gates.append(at_most(f"Differing tokens, {len(few)} prompts", differ, 0))
        self.report.facts["Generation"] = (
            f"4 x {len(prompts)} responses in {seconds:.1f} s, one by one {scaled:.0f} s (from"
            f" {len(few)} prompts); peak {max(peak for _, peak in runs):.1f} GiB"
        )
        self._keep()

    def _score(self) -> None:
        asked = self.asked
        judge = write_judge(self.scratch / "judge", **(TINY if asked.tiny else {}))
        pairs = published_responses(empty_ones=True)[: 8 if asked.tiny else 400]
        few = pairs[: 4 if asked.tiny else 40]
        for side, work in ((self.theirs, notebook_way.score), (self.mine, ours.score)):
            side.call(work, judge, few[:2], device=asked.device, max_length=512)
        alone = self.theirs.call(
            notebook_way.score, judge, few, device=asked.device, max_length=512
        )  # fmt: skip
        sample, peak = self.mine.call(
            with_peak, ours.score, judge, pairs, device=asked.device, max_length=512
        )
        self.seconds["scoring"] = sample.wall
        self.seconds["scoring, one by one"] = alone.wall / len(few) * len(pairs)
        worst = max(abs(a - b) for a, b in zip(alone.found, sample.found, strict=False))
        self.report.gates += [
            at_most("Seconds of 400 scores, float32", sample.wall, 5.0),
            at_most("Largest difference of scores", worst, 1e-5),
        ]
        self.report.facts["Scoring"] = (
            f"{len(pairs)} scores in {sample.wall:.2f} s, one by one"
            f" {self.seconds['scoring, one by one']:.1f} s (from {len(few)}); peak {peak:.1f} GiB"
        )
        self._keep()

    def _extrapolate(self) -> None:
        found, seconds = self.found, self.seconds
        for way in ("ours", "stock", "notebook"):
            sft, dpo = found[f"sft/{way}"], found[f"dpo/{way}"]
            parts = {
                "SFT": SFT_STEPS * sft.step + sft.warm_up + SFT_STEPS // 500 * sft.checkpoint,
                "DPO, twice": 2 * (DPO_STEPS * dpo.step + dpo.warm_up
                                   + PAIRS * dpo.reference_a_pair
                                   + DPO_STEPS // 500 * dpo.checkpoint),
                "generation": seconds["generation" if way == "ours" else "generation, one by one"],
                "scoring": seconds["scoring" if way == "ours" else "scoring, one by one"],
            }  # fmt: skip
            total = sum(parts.values())
            seconds[f"study, {way}"] = total
            told = ", ".join(f"{name} {value:,.0f}" for name, value in parts.items())
            self.report.facts[f"Whole study, {way} (s, extrapolated)"] = f"{total:,.0f} ({told})"
        self.report.gates.append(
            at_most("Whole study, extrapolated (s)", seconds["study, ours"], 1250, aim=900)
        )
        self.report.notes.append(
            "The extrapolation takes 40,200 updates of SFT and twice 20,100 of DPO with the"
            " reference of 160,800 pairs, a checkpoint every 500 updates, compilation, 400"
            " responses and 400 scores; reading models and data is not in it. Rows of the test"
            " splits stand for the training rows."
        )


def with_peak(work: Any, /, *given: Any, **options: Any) -> tuple[Sample, float]:
    """Do a piece of work; give its sample and the peak of the GPU's memory in GiB."""
    import torch

    on_gpu = options.get("device") != "cpu"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    sample = work(*given, **options)
    return sample, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0


def warm(folder: Path, prompts: Sequence[Any], device: str, *, ours_too: bool) -> None:
    """Generate once, untimed."""
    if ours_too:
        ours.generate(folder, prompts, max_new_tokens=2, device=device)
    else:
        notebook_way.generate(folder, [p.text for p in prompts], max_new_tokens=2, device=device)


def slice_of(sample: Sample, peak: float, *, warm_up: int, num_pairs: int) -> Slice:
    """Read a slice from the clock at every update.

    Args:
        sample: Of `ours.train`.
        peak: GiB.
        warm_up: Updates that are not timed.
        num_pairs: Rows that the reference was computed for.

    Raises:
        SystemExit: If there were not more updates than that.
    """
    marks: list[float] = sample.found["marks"]
    done = len(marks) - 1
    if done <= warm_up:
        sys.exit(f"only {done} updates in the time given; {warm_up} are needed to warm up")
    step = (marks[-1] - marks[warm_up]) / (done - warm_up)
    seconds = sample.found["seconds"]
    reference = sum(took for name, took in seconds.items() if name.startswith("reference"))
    return Slice(
        step=step, steps=done - warm_up, peak=peak, counters=sample.counters,
        warm_up=max(0.0, marks[warm_up] - marks[0] - warm_up * step),
        reference_a_pair=reference / num_pairs,
        checkpoint=max(0.0, seconds["training"] - (marks[-1] - marks[0])),
    )  # fmt: skip


def _a_thousand(part: Slice) -> Sample:
    return Sample(wall=1000 * part.step, cpu=1000 * part.step, counters=part.counters)


def _in_words(part: Slice) -> str:
    text = f"{1000 * part.step:.2f} ms an update over {part.steps}; peak {part.peak:.1f} GiB"
    if part.warm_up:
        text += f"; warm-up and compilation {part.warm_up:.1f} s"
    if part.reference_a_pair:
        text += f"; reference {1000 * part.reference_a_pair:.2f} ms a pair"
    return text + (f"; a checkpoint {part.checkpoint:.1f} s" if part.checkpoint else "")


if __name__ == "__main__":
    sys.exit(main())
