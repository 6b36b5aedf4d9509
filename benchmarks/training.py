"""Times a training step: stock TRL as the notebooks used it against ours, same rows, same model.

    python benchmarks/training.py [--quick] [--rows 24] [--rounds 2] [--stock]

The model is a 22M OPT (post-LN, 6 layers, quick: 3; hidden 512), its weights random; the rows are
real pairs of HH-RLHF (ALIGNSTUDY_HH_DIR). One thread each. Timed is the training loop, and for DPO
whatever computes the reference: within TRL's steps, before our loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import notebook_way
import ours
from harness import (
    Gate,
    Report,
    Sample,
    Section,
    Side,
    Spread,
    at_most,
    both_sides,
    gate_on_ratio,
    in_turns,
    parser,
    ratio,
)
from materials import real_pairs, texts_of, whole_texts, write_small_opt

from alignstudy.records import Pair

NOTEBOOK = "notebook: TRL, 2 x 4, float32"
STOCK = "TRL's defaults, 8 x 1"
FLOAT32 = "ours, float32"
KEPT = "ours, float32, references kept"
BF16 = "ours, bf16"
BF16_KEPT = "ours, bf16, references kept"

DPO_LENGTH, SFT_LENGTH = 1024, 512
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ("q_proj", "v_proj")}
DPO = {"beta": 0.1, "learning_rate": 2e-5, "max_length": DPO_LENGTH, "lora": LORA}
SFT = {"loss_on": "dialogue", "learning_rate": 2e-5, "max_length": SFT_LENGTH}
SETTINGS: dict[str, dict[str, Any]] = {"dpo": DPO, "sft": SFT}

Begin = Callable[[], Future[Any]]
"""Begins a training in the process of its way."""


def main() -> int:
    """Measure, write the results, give the exit code."""
    asked = _arguments()
    rows = real_pairs(asked.rows)
    settings = {
        "Model": f"OPT, {asked.layers} layers x 512, post-LN, vocabulary 8,192, random weights, no"
        " dropout of its own (adapter: 0.05, on both sides)",
        "Rows": f"{len(rows)} pairs drawn from harmless-base/test; 8 samples an update",
        "Threads": asked.threads,
        "Rounds": asked.rounds,
    }
    report = Report(
        name="training", title="Training: the notebooks' way and ours", settings=settings,
        quick=asked.quick,
    )  # fmt: skip
    with both_sides(asked.threads) as (scratch, theirs, mine):
        bench = Bench(rows, scratch, theirs, mine, asked)
        bench.measure(report)
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, help="pairs; 24, quick: 8")
    made.add_argument("--rounds", type=int, help="2, quick: 1")
    made.add_argument("--stock", action="store_true", help="time TRL's own defaults, too")
    asked = made.parse_args()
    asked.rows = asked.rows or (8 if asked.quick else 24)
    asked.rounds = asked.rounds or (1 if asked.quick else 2)
    asked.layers = 3 if asked.quick else 6
    return asked


class Bench:
    """The model, the rows, and a process for each way."""

    def __init__(
        self, rows: Sequence[Pair], scratch: Path, theirs: Side, mine: Side, asked: Any
    ) -> None:
        self.rows, self.scratch, self.theirs, self.mine = rows, scratch, theirs, mine
        self.asked = asked
        self.parent: Path = mine.call(
            write_small_opt, scratch / "model", num_hidden_layers=asked.layers
        )
        self.references = scratch / "references.sqlite"
        self.kernels: dict[str, Any] = mine.call(ours.settle)

    @property
    def slow_bf16(self) -> str:
        """Return why bf16 can't be faster here; empty where it can."""
        fast, slow = self.kernels["float32"], self.kernels["bfloat16"]
        if slow > fast:
            return ""
        return f"this processor multiplies bfloat16 at {slow:.0f} GF/s and float32 at {fast:.0f}"

    def measure(self, report: Report) -> None:
        """Time both methods and set the gates."""
        self._warm_up()
        report.facts["Products of this processor (GF/s)"] = self.kernels
        own = {"dpo": self._our_dpo(), "sft": self._our_sft()}
        gates = {"dpo": self._dpo_gates, "sft": self._sft_gates}
        for method in own:
            ways = self._notebook_ways(method) | own[method]
            found = in_turns({way: partial(_ended, ways[way]) for way in ways}, self._rounds())
            unit = f"{len(self.rows)} rows"
            report.add(Section(title=method.upper(), samples=found, baseline=NOTEBOOK, unit=unit))
            report.gates += gates[method](found)
        if self.slow_bf16:
            report.notes.append(
                f"{self.slow_bf16}: mixed precision can only be slower than float32 here, so it was"
                " not timed."
            )

    def _rounds(self) -> Mapping[str, int]:
        every = (NOTEBOOK, FLOAT32, KEPT, BF16, BF16_KEPT)
        return {STOCK: 1} | dict.fromkeys(every, self.asked.rounds)

    def _warm_up(self) -> None:
        """Load every library, on both sides at once."""
        few = sorted(self.rows, key=lambda row: max(map(len, whole_texts(row))))[:2]
        begun = [way(method, few) for method in SETTINGS for way in (self._notebook, self._ours)]
        for one in begun:
            one.result()
        if not self.slow_bf16:
            self._kept_in_bf16().result()

    def _notebook_ways(self, method: str) -> dict[str, Begin]:
        """The notebooks' way and, if asked for, TRL's defaults; bf16 where it's no slower."""
        ways: dict[str, Begin] = {NOTEBOOK: partial(self._notebook, method)}
        if self.asked.stock:
            options = {**notebook_way.TRL_DEFAULTS, "bf16": not self.slow_bf16}
            ways[STOCK] = partial(self._notebook, method, options=options)
        return ways

    def _our_dpo(self) -> dict[str, Begin]:
        kept = partial(self._ours, "dpo", references=self.references)
        ways: dict[str, Begin] = {FLOAT32: self._first_dpo, KEPT: kept}
        return ways if self.slow_bf16 else {**ways, BF16_KEPT: self._kept_in_bf16}

    def _our_sft(self) -> dict[str, Begin]:
        ways: dict[str, Begin] = {FLOAT32: partial(self._ours, "sft")}
        return ways if self.slow_bf16 else ways | {BF16: partial(self._ours, "sft", bf16=True)}

    def _first_dpo(self) -> Future[Any]:
        """Train where no reference is known yet; the next run finds them all."""
        for file in self.scratch.glob(f"{self.references.name}*"):
            file.unlink()
        return self._ours("dpo", references=self.references)

    def _kept_in_bf16(self) -> Future[Any]:
        references = self.scratch / "references-bf16.sqlite"
        return self._ours("dpo", references=references, bf16=True)

    def _notebook(
        self,
        method: str,
        rows: Sequence[Pair] = (),
        options: Mapping[str, Any] = notebook_way.NOTEBOOK,
    ) -> Future[Any]:
        told = {name: SETTINGS[method][name] for name in ("max_length", "learning_rate")}
        return self.theirs.begin(
            notebook_way.TRAINERS[method], self.parent, texts_of(method, rows or self.rows),
            self.scratch / "trl", options={**options, **told, "num_train_epochs": 1},
        )  # fmt: skip

    def _ours(
        self,
        method: str,
        rows: Sequence[Pair] = (),
        *,
        references: Path | None = None,
        bf16: bool = False,
    ) -> Future[Any]:
        settings = {**SETTINGS[method], "precision": "bf16" if bf16 else "fp32"}
        return self.mine.begin(
            ours.train, method, settings, self.parent, rows or self.rows, references=references
        )

    def _dpo_gates(self, found: Mapping[str, Sequence[Sample]]) -> list[Gate]:
        before = found[NOTEBOOK]
        return [
            gate_on_ratio("DPO step, float32", ratio(before, found[FLOAT32]), 2.0, 4.0),
            gate_on_ratio("DPO step, float32, references kept",
                          ratio(before, found[KEPT]), 3.0, 5.0),
            self._bf16_gate("DPO step, bf16, references kept", found, BF16_KEPT, 6.0, 8.0),
            at_most("DPO: processed / real tokens",
                    _counted(found[FLOAT32], "processed / real"), 0.70),
            at_most("DPO: reference pairs on a second run",
                    _counted(found[KEPT], "reference pairs"), 0),
        ]  # fmt: skip

    def _sft_gates(self, found: Mapping[str, Sequence[Sample]]) -> list[Gate]:
        return [
            gate_on_ratio("SFT step, float32", ratio(found[NOTEBOOK], found[FLOAT32]), 1.5, 2.5),
            self._bf16_gate("SFT step, bf16", found, BF16, 3.0, 4.0),
            at_most("SFT: processed / real tokens",
                    _counted(found[FLOAT32], "processed / real"), 1.05),
        ]  # fmt: skip

    def _bf16_gate(
        self,
        name: str,
        found: Mapping[str, Sequence[Sample]],
        way: str,
        required: float,
        aim: float,
    ) -> Gate:
        if self.slow_bf16:
            return Gate(name=name, measured=None, required=required, aim=aim,
                        not_measurable=self.slow_bf16)  # fmt: skip
        times: Spread = ratio(found[NOTEBOOK], found[way])
        return gate_on_ratio(name, times, required, aim)


def _ended(begin: Begin) -> Sample:
    sample: Sample = begin().result()
    return sample


def _counted(runs: Sequence[Sample], counter: str) -> float:
    return runs[-1].counters[counter]


if __name__ == "__main__":
    sys.exit(main())
