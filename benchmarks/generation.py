"""Times generation at OPT-350M's shape: one prompt at a time as the notebooks did, against ours.

    python benchmarks/generation.py [--quick] [--sample 5 | --whole]

50 new tokens, float32, greedy, on prompts of the published study (ALIGNSTUDY_PAPER_DIR) with OPT's
own tokenizer (ALIGNSTUDY_TOKENIZER_DIR). Weights are random, drawn so that no token repeats
without end. Every token is compared.

We answer the whole set. One by one it takes a quarter of an hour: unless `--whole` is given, the
notebooks' way answers prompts that lie evenly over the set by length, and its seconds count as
often as there are more prompts in the set; one by one nothing is shared between prompts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
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
    at_most,
    both_sides,
    gate_on_ratio,
    in_turns,
    parser,
    ratio,
    two_cannot_show,
)
from materials import by_length, evenly, near_equal, published_prompts, write_opt_350m

from alignstudy.records import Prompt

STD = 0.012
"""Of the random weights: about 45 different tokens in 50; at 0.02, ten; above, one or two."""

ALONE = "notebook: one by one, 1 thread"
TOGETHER = "ours, 1 process"
SPREAD = "ours, 2 processes"


def main() -> int:
    """Measure, write the results, give the exit code."""
    asked = _arguments()
    prompts = published_prompts()
    settings = {
        "Model": f"OPT-350M's shape{_layers(asked.layers)}, random weights"
        f" (std {STD}), float32, 50 new tokens, greedy",
        "Near-equal": f"{asked.near} published prompts of 110-145 tokens",
        "Set": f"the {len(prompts)} published prompts; one by one {_which(asked, len(prompts))}",
        "Threads": asked.threads,
        "Rounds": asked.rounds,
    }
    report = Report(
        name="generation", title="Generation: the notebooks' way and ours", settings=settings,
        quick=asked.quick,
    )  # fmt: skip
    with both_sides(asked.threads) as (scratch, theirs, mine):
        place = scratch / "model"
        written = theirs.begin(write_opt_350m, place, std=STD, num_hidden_layers=asked.layers)
        report.facts["Products of this processor (GF/s)"] = mine.call(ours.settle)
        folder: Path = written.result()
        near = mine.call(near_equal, prompts, folder, low=110, high=145)[: asked.near]
        for side, work, few in ((theirs, notebook_way.generate, [near[0].text]),
                                (mine, ours.generate, near[:1])):  # fmt: skip
            side.call(work, folder, few, max_new_tokens=2)
        _near_equal(report, folder, near, theirs, mine, rounds=asked.rounds)
        if not asked.quick:  # too little work for two processes to pay
            sorted_prompts = mine.call(by_length, prompts, folder)
            part = sorted_prompts if asked.whole else evenly(sorted_prompts, asked.sample)
            _published_set(report, folder, prompts, part, theirs, mine)
    return report.finish(asked.out)


def _which(asked: Any, number: int) -> str:
    if asked.quick:
        return "and by us none (a quick run)"
    if asked.whole:
        return "all"
    return f"{asked.sample} that lie evenly by length, {number / asked.sample:.3g} times"


def _arguments() -> Any:
    made = parser(__doc__ or "")
    made.add_argument("--near", type=int, help="prompts of near-equal length; 10, quick: 8")
    made.add_argument("--sample", type=int, default=5, help="of the set, answered one by one")
    made.add_argument("--whole", action="store_true", help="the whole published set")
    made.add_argument("--rounds", type=int, help="of the near-equal ones; 1")
    asked = made.parse_args()
    asked.near = asked.near or (8 if asked.quick else 10)
    asked.layers = 4 if asked.quick else 24
    asked.rounds = asked.rounds or 1
    return asked


def _layers(count: int) -> str:
    return "" if count == 24 else f" with {count} of its 24 layers"


def _near_equal(
    report: Report,
    folder: Path,
    prompts: Sequence[Prompt],
    theirs: Side,
    mine: Side,
    *,
    rounds: int,
) -> None:
    ways = {
        ALONE: partial(theirs.call, notebook_way.generate, folder, [p.text for p in prompts]),
        TOGETHER: partial(mine.call, ours.generate, folder, prompts),
    }
    found = in_turns(ways, rounds)
    report.add(
        Section(title="Near-equal lengths", samples=found, baseline=ALONE, unit=_unit(prompts))
    )
    times = ratio(found[ALONE], found[TOGETHER])
    report.gates.append(gate_on_ratio("Generation, near-equal lengths", times, 2.0, 2.6))
    report.gates.append(
        _differing("near-equal lengths", folder, found[ALONE][-1], found[TOGETHER][-1])
    )


def _published_set(
    report: Report,
    folder: Path,
    prompts: Sequence[Prompt],
    part: Sequence[Prompt],
    theirs: Side,
    mine: Side,
) -> None:
    together = mine.call(ours.generate, folder, prompts, workers=2)
    alone = theirs.call(notebook_way.generate, folder, [prompt.text for prompt in part])
    times = len(prompts) / len(part)
    whole = replace(
        alone, wall=times * alone.wall, cpu=times * alone.cpu,
        counters={name: times * count for name, count in alone.counters.items()},
    )  # fmt: skip
    found = {ALONE: [whole], SPREAD: [together]}
    report.add(
        Section(title="Published prompts", samples=found, baseline=ALONE, clock="wall",
                unit=_unit(prompts))
    )  # fmt: skip
    name, gain = "Generation, published prompts, 2 processes", ratio([whole], [together], "wall")
    report.gates.append(gate_on_ratio(name, gain, 2.0, 4.0, unless=two_cannot_show([alone])))
    numbers = {prompt.id: number for number, prompt in enumerate(prompts)}
    same = replace(together, found=[together.found[numbers[prompt.id]] for prompt in part])
    report.gates.append(_differing("published prompts, 2 processes", folder, alone, same))


def _unit(prompts: Sequence[Prompt]) -> str:
    return f"{len(prompts)} prompts, 50 new tokens each"


def _differing(name: str, folder: Path, alone: Sample, together: Sample) -> Gate:
    count = differing_tokens(folder, alone.found, together.found)
    return at_most(f"Differing tokens, {name}", count, 0)


def differing_tokens(
    folder: Path,
    alone: Sequence[tuple[list[int], str]],
    together: Sequence[ours.Written],
) -> int:
    """Count the tokens that differ; a response of another process by its text and its length."""
    from alignstudy.generation.decoding import decode
    from alignstudy.models.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(folder)
    total = 0
    for (tokens, _), mine in zip(alone, together, strict=True):
        wanted = [token for token in tokens if token != tokenizer.eos_token_id]
        if mine.tokens is not None:
            total += count_differing(wanted, mine.tokens[: mine.count])
        elif (decode(tokenizer, wanted), len(wanted)) != (mine.text, mine.count):
            total += max(len(wanted), mine.count)
    return total


def count_differing(wanted: Sequence[int], given: Sequence[int]) -> int:
    """Count the places where two rows of tokens differ, missing ones included."""
    same = sum(a == b for a, b in zip(wanted, given, strict=False))
    return max(len(wanted), len(given)) - same


if __name__ == "__main__":
    sys.exit(main())
