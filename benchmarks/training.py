"""Times a training step: stock TRL as the notebooks used it against ours, same rows, same model.

    python benchmarks/training.py [--quick] [--rows 24] [--rounds 3] [--stock]

The model is a 22M OPT (post-LN, 6 layers, hidden 512) with random weights; the rows are real pairs
of HH-RLHF (ALIGNSTUDY_HH_DIR). One thread each. Timed is the training loop, and for DPO whatever
computes the reference: within TRL's steps, before our loop.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
    gate_on_ratio,
    in_turns,
    parser,
    ratio,
)
from materials import real_pairs, write_small_opt

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


def main() -> int:
    """Measure, write the results, give the exit code."""
    asked = _arguments()
    rows = real_pairs(asked.rows)
    settings = {
        "Model": "OPT, 6 layers x 512, post-LN, vocabulary 8,192, random weights, no dropout of its"
        " own (adapter: 0.05, on both sides)",
        "Rows": f"{len(rows)} pairs drawn from harmless-base/test; 8 samples an update",
        "Threads": asked.threads,
        "Rounds": asked.rounds,
    }
    report = Report(
        name="training", title="Training: the notebooks' way and ours", settings=settings,
        quick=asked.quick,
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as scratch,
        Side(asked.threads) as theirs,
        Side(asked.threads) as mine,
    ):
        bench = Bench(rows, Path(scratch), theirs, mine, rounds=asked.rounds)
        bench.measure(report, stock=asked.stock)
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, help="pairs; 24, quick: 8")
    made.add_argument("--rounds", type=int, help="3, quick: 1")
    made.add_argument("--stock", action="store_true", help="time TRL's own defaults, too")
    asked = made.parse_args()
    asked.rows = asked.rows or (8 if asked.quick else 24)
    asked.rounds = asked.rounds or (1 if asked.quick else 3)
    return asked


class Bench:
    """The model, the rows, and a process for each way."""

    def __init__(
        self, rows: Sequence[Pair], scratch: Path, theirs: Side, mine: Side, *, rounds: int
    ) -> None:
        self.rows, self.scratch, self.theirs, self.mine = rows, scratch, theirs, mine
        self.rounds = rounds
        self.parent: Path = mine.call(write_small_opt, scratch / "model")
        self.references = scratch / "references.sqlite"
        self.kernels: dict[str, Any] = mine.call(ours.settle)

    @property
    def slow_bf16(self) -> str:
        """Say why bf16 can't be faster here; empty where it can."""
        fast, slow = self.kernels["float32"], self.kernels["bfloat16"]
        if slow > fast:
            return ""
        return f"this processor multiplies bfloat16 at {slow:.0f} GF/s and float32 at {fast:.0f}"

    def measure(self, report: Report, *, stock: bool) -> None:
        """Time both methods and set the gates."""
        self._warm_up()
        report.facts["Products of this processor (GF/s)"] = self.kernels
        dpo = in_turns(self._dpo(stock=stock), self._rounds())
        report.add(Section(title="DPO", samples=dpo, baseline=NOTEBOOK, unit=self._unit))
        report.gates += self._dpo_gates(dpo)
        sft = in_turns(self._sft(stock=stock), self._rounds())
        report.add(Section(title="SFT", samples=sft, baseline=NOTEBOOK, unit=self._unit))
        report.gates += self._sft_gates(sft)
        if self.slow_bf16:
            report.notes.append(
                f"{self.slow_bf16}: mixed precision can only be slower than float32 here, so it was"
                " not timed."
            )

    @property
    def _unit(self) -> str:
        return f"{len(self.rows)} rows"

    def _rounds(self) -> Mapping[str, int]:
        every = (NOTEBOOK, FLOAT32, KEPT, BF16, BF16_KEPT)
        return {STOCK: 1} | dict.fromkeys(every, self.rounds)

    def _warm_up(self) -> None:
        """Load every library, on both sides at once."""
        few = self.rows[:2]
        begun = [
            self._notebook_dpo(few, begin=True),
            self._notebook_sft(few, begin=True),
            self.mine.begin(ours.train, "dpo", DPO, self.parent, few),
            self.mine.begin(ours.train, "sft", SFT, self.parent, few),
        ]
        for one in begun:
            one.result()
        if not self.slow_bf16:
            self._kept_in_bf16()

    def _dpo(self, *, stock: bool) -> dict[str, Callable[[], Sample]]:
        kept = partial(self._our_dpo, self.rows, references=self.references)
        ways: dict[str, Callable[[], Sample]] = {NOTEBOOK: partial(self._notebook_dpo, self.rows)}
        if stock:
            ways[STOCK] = partial(self._notebook_dpo, self.rows, options=self._stock_options())
        ways |= {FLOAT32: self._first_dpo, KEPT: kept}
        return ways if self.slow_bf16 else {**ways, BF16_KEPT: self._kept_in_bf16}

    def _kept_in_bf16(self) -> Sample:
        references = self.scratch / "references-bf16.sqlite"
        return self._our_dpo(self.rows, references=references, precision="bf16")

    def _first_dpo(self) -> Sample:
        """Train where no reference is known yet; the next run finds them all."""
        for file in self.scratch.glob(f"{self.references.name}*"):
            file.unlink()
        return self._our_dpo(self.rows, references=self.references)

    def _sft(self, *, stock: bool) -> dict[str, Callable[[], Sample]]:
        ways: dict[str, Callable[[], Sample]] = {NOTEBOOK: partial(self._notebook_sft, self.rows)}
        if stock:
            ways[STOCK] = partial(self._notebook_sft, self.rows, options=self._stock_options())
        ways[FLOAT32] = partial(self._our_sft, self.rows)
        if not self.slow_bf16:
            ways[BF16] = partial(self._our_sft, self.rows, precision="bf16")
        return ways

    def _stock_options(self) -> dict[str, Any]:
        """TRL's own defaults, but for bf16 where it would slow TRL down."""
        return {**notebook_way.TRL_DEFAULTS, "bf16": not self.slow_bf16}

    def _notebook_dpo(
        self,
        rows: Sequence[Pair],
        options: Mapping[str, Any] = notebook_way.NOTEBOOK,
        *,
        begin: bool = False,
    ) -> Any:
        texts = [{"prompt": r.prompt, "chosen": r.chosen, "rejected": r.rejected} for r in rows]
        given = {**options, "max_length": DPO_LENGTH, "learning_rate": 2e-5, "num_train_epochs": 1}
        do = self.theirs.begin if begin else self.theirs.call
        work = self.scratch / "trl"
        return do(notebook_way.train_dpo, self.parent, texts, work, options=given)

    def _notebook_sft(
        self,
        rows: Sequence[Pair],
        options: Mapping[str, Any] = notebook_way.NOTEBOOK,
        *,
        begin: bool = False,
    ) -> Any:
        texts = [row.prompt + row.chosen for row in rows]
        given = {**options, "max_length": SFT_LENGTH, "learning_rate": 2e-5, "num_train_epochs": 1}
        do = self.theirs.begin if begin else self.theirs.call
        work = self.scratch / "trl"
        return do(notebook_way.train_sft, self.parent, texts, work, options=given)

    def _our_dpo(
        self, rows: Sequence[Pair], *, references: Path | None = None, precision: str = "fp32"
    ) -> Sample:
        settings = {**DPO, "precision": precision}
        return self.mine.call(
            ours.train, "dpo", settings, self.parent, rows, references=references
        )  # fmt: skip

    def _our_sft(self, rows: Sequence[Pair], *, precision: str = "fp32") -> Sample:
        return self.mine.call(ours.train, "sft", {**SFT, "precision": precision}, self.parent, rows)

    def _dpo_gates(self, found: Mapping[str, Sequence[Sample]]) -> list[Gate]:
        before = found[NOTEBOOK]
        return [
            gate_on_ratio("DPO step, float32", ratio(before, found[FLOAT32]), 2.0, 4.0),
            gate_on_ratio("DPO step, float32, references kept",
                          ratio(before, found[KEPT]), 3.0, 5.0),
            self._bf16_gate("DPO step, bf16, references kept", found, BF16_KEPT, 6.0, 8.0),
            _at_most("DPO: processed / real tokens", found[FLOAT32], "processed / real", 0.70),
            _at_most("DPO: reference pairs on a second run", found[KEPT], "reference pairs", 0),
        ]  # fmt: skip

    def _sft_gates(self, found: Mapping[str, Sequence[Sample]]) -> list[Gate]:
        return [
            gate_on_ratio("SFT step, float32", ratio(found[NOTEBOOK], found[FLOAT32]), 1.5, 2.5),
            self._bf16_gate("SFT step, bf16", found, BF16, 3.0, 4.0),
            _at_most("SFT: processed / real tokens", found[FLOAT32], "processed / real", 1.05),
        ]

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


def _at_most(name: str, runs: Sequence[Sample], counter: str, bound: float) -> Gate:
    measured = runs[-1].counters[counter]
    return Gate(name=name, measured=measured, required=bound, at_least=False)


if __name__ == "__main__":
    sys.exit(main())
