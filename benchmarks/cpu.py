"""Times the notebooks' way and ours on any machine: training, generation, scoring.

    python benchmarks/cpu.py [training] [generation] [scoring] [--quick] [--stock] [--whole]

*Training*: a step of stock TRL as the notebooks used it (`--stock`: with TRL's own defaults, too)
against ours, on a 22M OPT and real pairs of HH-RLHF (ALIGNSTUDY_HH_DIR). Timed is the training
loop, and for DPO whatever computes the reference: within TRL's steps, before our loop.

*Generation* at OPT-350M's shape, 50 new tokens, greedy, on prompts of the published study
(ALIGNSTUDY_PAPER_DIR) with OPT's own tokenizer (ALIGNSTUDY_TOKENIZER_DIR). Responses must be equal.
One by one the whole set takes a quarter of an hour: unless `--whole` is given, the notebooks' way
answers prompts that lie evenly over the set by length, and its seconds count as often as there are
more prompts in the set; one by one nothing is shared between prompts.

*Scoring* at DeBERTa-v3-large's shape, of published responses. Scores must agree within 1e-5.

Weights are random, float32, one thread a process.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import notebook_way
import ours
from harness import Sample, Side, both_sides, in_turns, shared_machine
from machine import speed_of_products
from materials import (
    differing_tokens,
    published_prompts,
    published_responses,
    real_pairs,
    token_counts,
    whole_texts,
    write_judge,
    write_opt_350m,
    write_small_opt,
)
from results import Gate, Report, Section, at_least, at_most, parser, ratio

NOTEBOOK = "notebook: TRL, 2 x 4, float32"
STOCK = "TRL's defaults, 8 x 1"
FLOAT32 = "ours, float32"
KEPT = "ours, float32, references kept"
BF16 = "ours, bf16"
BF16_KEPT = "ours, bf16, references kept"
ALONE = "notebook: one by one, 1 thread"
ALONE_BOTH = "notebook: one by one, 2 threads"
ONE = "ours, 1 process"
TWO = "ours, 2 processes"

LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ("q_proj", "v_proj")}
SETTINGS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1, "learning_rate": 2e-5, "max_length": 1024, "lora": LORA},
    "sft": {"loss_on": "dialogue", "learning_rate": 2e-5, "max_length": 512},
}
STD = 0.012
"""Of OPT-350M's weights: about 45 different tokens in 50; at 0.02, ten; above, one or two."""

SPEED = "Products of this processor (GF/s)"


def main() -> int:
    """Run what is asked for; return 1 if a gate failed."""
    made = parser(__doc__ or "")
    made.add_argument("which", nargs="*", help=f"of {', '.join(BENCHMARKS)}; left out: all")
    made.add_argument("--quick", action="store_true", help="few rows, one round; same gates")
    made.add_argument("--stock", action="store_true", help="training: TRL's own defaults, too")
    made.add_argument("--whole", action="store_true", help="generation: the whole set one by one")
    asked = made.parse_args()
    if unknown := set(asked.which) - set(BENCHMARKS):
        made.error(f"there is no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    codes, verdicts = [], []
    for name in asked.which or BENCHMARKS:
        print(f"== {name} ==", flush=True)
        report = Report(
            name=name,
            title=f"{name.capitalize()}: the notebooks' way and ours",
            quick=asked.quick,
        )
        with both_sides(asked.threads) as (scratch, theirs, mine):
            report.facts[SPEED] = mine.call(speed_of_products)
            BENCHMARKS[name](report, asked, scratch, theirs, mine)
        codes.append(report.finish(asked.out))
        verdicts += [f"{name}: {' | '.join(gate.cells)}" for gate in report.gates]
    print("\n".join(verdicts))
    return max(codes)


def training(report: Report, asked: Any, scratch: Path, theirs: Side, mine: Side) -> None:
    """Time DPO and SFT in turns."""
    count, rounds, layers = (8, 1, 3) if asked.quick else (24, 2, 6)
    rows = real_pairs(count)
    report.settings |= {
        "Model": f"OPT, {layers} layers x 512, post-LN, vocabulary 8,192, random weights, no"
        " dropout of its own (adapter: 0.05, on both sides)",
        "Rows": f"{count} pairs drawn from harmless-base/test; 8 samples an update",
        "Threads": asked.threads,
        "Rounds": rounds,
    }
    parent = mine.call(write_small_opt, scratch / "model", num_hidden_layers=layers)
    few = sorted(rows, key=lambda row: max(map(len, whole_texts(row))))[:2]
    slow_bf16 = _slow_bf16(report)
    for method in SETTINGS:
        trl = partial(theirs.call, notebook_way.train, method, parent)
        own = partial(mine.call, ours.train, method, parent)
        ways = _training_ways(method, trl, own, scratch, bf16=not slow_bf16)
        if not asked.stock:
            del ways[STOCK]
        for name, way in ways.items():  # loads every library, fills the files of references
            way(rows if "kept" in name else few)
        found = in_turns({name: partial(way, rows) for name, way in ways.items()}, rounds)
        unit = f"{count} rows"
        report.sections.append(Section(title=method.upper(), samples=found, unit=unit))
        report.gates += _training_gates(method, found, slow_bf16)
    if slow_bf16:
        why = "mixed precision can only be slower than float32 here, so it was not timed"
        report.notes.append(f"{slow_bf16}: {why}.")


def _training_ways(
    method: str,
    trl: Callable[..., Sample],
    own: Callable[..., Sample],
    scratch: Path,
    *,
    bf16: bool,
) -> dict[str, Callable[..., Sample]]:
    """Return the ways to train on rows, by name."""
    settings = {name: {**SETTINGS[method], "precision": name} for name in ("fp32", "bf16")}
    wanted = {name: SETTINGS[method][name] for name in ("max_length", "learning_rate")}
    wanted["num_train_epochs"] = 1
    stock = {**notebook_way.TRL_DEFAULTS, **wanted, "bf16": bf16}
    ways = {
        NOTEBOOK: partial(trl, work=scratch / "trl", options=notebook_way.NOTEBOOK | wanted),
        STOCK: partial(trl, work=scratch / "trl", options=stock),
        FLOAT32: partial(own, settings=settings["fp32"]),
    }
    if method == "sft":
        ways[BF16] = partial(own, settings=settings["bf16"])
    else:
        for name, precision in ((KEPT, "fp32"), (BF16_KEPT, "bf16")):
            file = scratch / f"{precision}.sqlite"
            ways[name] = partial(own, settings=settings[precision], references=file)
    return {name: way for name, way in ways.items() if bf16 or "bf16" not in name}


def _slow_bf16(report: Report) -> str:
    """Return why bf16 can't be faster here; empty where it can."""
    fast, slow = report.facts[SPEED]["float32"], report.facts[SPEED]["bfloat16"]
    if slow > fast:
        return ""
    return f"this processor multiplies bfloat16 at {slow:.0f} GF/s and float32 at {fast:.0f}"


def _training_gates(
    method: str, found: Mapping[str, Sequence[Sample]], slow_bf16: str
) -> list[Gate]:
    times = {name: ratio(found[NOTEBOOK], runs) for name, runs in found.items()}
    counts = {name: runs[-1].counters for name, runs in found.items()}
    share = counts[FLOAT32]["processed / real"]
    if method == "sft":
        return [
            at_least("SFT step, float32", times[FLOAT32], 1.5, 2.5),
            at_least("SFT step, bf16", times.get(BF16), 3.0, 4.0, unless=slow_bf16),
            at_most("SFT: processed / real tokens", share, 1.05),
        ]
    name = "DPO step, bf16, references kept"
    return [
        at_least("DPO step, float32", times[FLOAT32], 2.0, 4.0),
        at_least("DPO step, float32, references kept", times[KEPT], 3.0, 5.0),
        at_least(name, times.get(BF16_KEPT), 6.0, 8.0, unless=slow_bf16),
        at_most("DPO: processed / real tokens", share, 0.70),
        at_most("DPO: reference pairs on a second run", counts[KEPT]["reference pairs"], 0),
    ]


def generation(report: Report, asked: Any, scratch: Path, theirs: Side, mine: Side) -> None:
    """Time prompts of near-equal length in one process, then the published set in two."""
    number, layers = (8, 4) if asked.quick else (10, 24)
    prompts = published_prompts()
    folder = theirs.call(write_opt_350m, scratch / "model", std=STD, num_hidden_layers=layers)
    lengths = dict(zip(prompts, mine.call(token_counts, folder, prompts), strict=True))
    near = [text for text in prompts if 110 <= lengths[text] <= 145][:number]
    in_order = sorted(prompts, key=lambda text: (lengths[text], text))
    sample = len(prompts) if asked.whole else 5
    part = [in_order[int((at + 0.5) * len(prompts) / sample)] for at in range(sample)]
    which = f"{sample} that lie evenly by length, {len(prompts) / sample:.3g} times"
    report.settings |= {
        "Model": f"OPT-350M's shape, {layers} of its 24 layers, random weights (std {STD}),"
        " float32, 50 new tokens, greedy",
        "Near-equal": f"{number} published prompts of 110-145 tokens",
        "Set": "none (a quick run)" if asked.quick else f"{len(prompts)}; one by one {which}",
        "Threads": asked.threads,
    }
    theirs.call(notebook_way.generate, folder, near[:1], max_new_tokens=2)
    mine.call(ours.generate, folder, near[:1], max_new_tokens=2)
    alone = partial(theirs.call, notebook_way.generate, folder)
    together = partial(mine.call, ours.generate, folder)
    found = in_turns({ALONE: partial(alone, near), ONE: partial(together, near)}, 1)
    unit = "{} prompts, 50 new tokens each"
    report.sections.append(
        Section(title="Near-equal lengths", samples=found, unit=unit.format(len(near)))
    )
    same = differing_tokens(folder, found[ALONE][0].found, found[ONE][0].found)
    times = ratio(found[ALONE], found[ONE])
    report.gates += [
        at_least("Generation, near-equal lengths", times, 2.0, 2.6),
        at_most("Differing tokens, near-equal lengths", same, 0),
    ]
    if asked.quick:  # too little work for two processes to pay
        return
    ours_all, theirs_part = together(prompts, workers=2), alone(part)
    theirs_all = _times(len(prompts) / len(part), theirs_part)
    found = {ALONE: [theirs_all], TWO: [ours_all]}
    report.sections.append(
        Section(
            title="Published prompts", samples=found, clock="wall", unit=unit.format(len(prompts))
        )
    )
    times, why = ratio(found[ALONE], found[TWO], "wall"), shared_machine([theirs_part], cores=2)
    ours_part = [ours_all.found[prompts.index(text)] for text in part]
    same = differing_tokens(folder, theirs_part.found, ours_part)
    report.gates += [
        at_least("Generation, published prompts, 2 processes", times, 2.0, 4.0, unless=why),
        at_most("Differing tokens, published prompts, 2 processes", same, 0),
    ]


def _times(factor: float, sample: Sample) -> Sample:
    counters = {name: factor * count for name, count in sample.counters.items()}
    return replace(sample, wall=factor * sample.wall, cpu=factor * sample.cpu, counters=counters)


def scoring(report: Report, asked: Any, scratch: Path, theirs: Side, mine: Side) -> None:
    """Time the scores of some responses, in one process and in two."""
    number, rounds, layers = (4, 1, 6) if asked.quick else (7, 2, 24)
    pairs = random.Random(0).sample(published_responses(), number)
    report.settings |= {
        "Model": f"DeBERTa-v3-large's shape ({layers} layers x 1,024), vocabulary 8,192, random"
        " weights",
        "Texts": f"{number} pairs drawn from the published responses, float32",
        "Threads": asked.threads,
        "Rounds": rounds,
    }
    folder = theirs.call(write_judge, scratch / "judge", num_hidden_layers=layers)
    theirs_do = partial(notebook_way.score, folder, pairs)
    ours_do = partial(ours.score, folder, pairs)
    theirs.call(notebook_way.score, folder, pairs[:1])
    mine.call(ours.score, folder, pairs[:1])
    ways = {ALONE: partial(theirs.call, theirs_do), ONE: partial(mine.call, ours_do)}
    if asked.quick:
        found = in_turns(ways, rounds)
        two, why = None, "a quick run is too little work for two processes to pay"
    else:
        ways[TWO] = partial(mine.call, ours_do, workers=2)
        with_start = ways[TWO]()
        found = in_turns(ways, rounds)
        report.facts["Start of 2 processes (s)"] = with_start.wall - found[TWO][0].wall
        two, why = (
            ratio(found[ALONE], found[TWO], "wall"),
            shared_machine(found[ALONE], found[ONE], cores=2),
        )
        with Side(2) as wide:
            found[ALONE_BOTH] = [wide.call(theirs_do)]
    report.sections.append(
        Section(title="Scoring", samples=found, clock="wall", unit=f"{number} pairs")
    )
    one = ratio(found[ALONE], found[ONE])
    report.gates += [
        at_least("Scoring, 1 process, not slower (processor)", one, 0.9),
        at_least("Scoring, 2 processes (clock)", two, 1.4, 3.5, unless=why),
    ]
    wanted = found[ALONE][-1].found
    for way in (way for way in (ONE, TWO) if way in found):
        worst = max(abs(a - b) for a, b in zip(wanted, found[way][-1].found, strict=True))
        report.gates.append(at_most(f"Largest difference of scores, {way}", worst, 1e-5))
    report.facts["Spread of the scores"] = max(wanted) - min(wanted)


BENCHMARKS = {"training": training, "generation": generation, "scoring": scoring}

if __name__ == "__main__":
    sys.exit(main())
