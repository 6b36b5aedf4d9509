"""What a training takes outside its updates: its beginning, its end, its last checkpoint.

    python benchmarks/edges.py [--against SRC] [--rounds 1] [--tiny]

At OPT-350M's shape, in float32, weights random, rows real: SFT of all weights, DPO with an adapter.
`--against` names the `src` folder of another version of alignstudy, which is timed in turns with
this one. Updates and the reference's passes are left out.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ours
from cpu import SETTINGS
from harness import Sample, Side, both_sides, in_turns
from materials import all_test_pairs, whole_texts, write_opt_350m
from results import Report, Section, parser

UPDATES = 2
LONGEST = 600
"""Most characters of a row: updates aren't what is timed."""

THIS, OTHER = "this version", "the other version"


def main() -> int:
    """Measure, write the results, return the exit code."""
    asked = two_versions(__doc__ or "")
    shape = "tiny" if asked.tiny else "OPT-350M's shape"
    report = Report(
        name="edges-tiny" if asked.tiny else "edges",
        title="What a training takes outside its updates",
        settings={"Model": f"{shape}, random weights, float32", "Updates": UPDATES},
    )
    rows = [row for row in all_test_pairs() if max(map(len, whole_texts(row))) < LONGEST][:16]
    with both_sides(asked.threads) as (scratch, theirs, mine):
        small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
        changes = {**small, "word_embed_proj_dim": 16} if asked.tiny else {}
        model = write_opt_350m(scratch / "opt", std=0.012, **changes)
        sides = {THIS: mine}
        if asked.against:
            theirs.call(prefer, str(asked.against.resolve()))
            sides = {OTHER: theirs, **sides}
        for method in ("sft", "dpo"):
            ways = {name: _way(side, method, model, rows) for name, side in sides.items()}
            found = in_turns(ways, asked.rounds)
            whole = {name: list(map(_with_checkpoint, runs)) for name, runs in found.items()}
            for title, samples in (("", found), (" and last checkpoint", whole)):
                title = f"{method.upper()}: beginning, end{title}"
                report.sections.append(Section(title=title, samples=samples, clock="wall"))
    return report.finish(asked.out)


def _with_checkpoint(sample: Sample) -> Sample:
    return replace(sample, wall=sample.wall + sample.found["checkpoint"])


def _way(side: Side, method: str, model: Path, rows: list[Any]) -> Any:
    settings = {**SETTINGS[method], "max_steps": UPDATES, "save_steps": None}

    def run() -> Sample:
        sample: Sample = side.call(ours.train, method, model, rows, settings)
        # Seconds of the processor are not timed apart.
        return replace(sample, wall=sample.found["outside"], cpu=math.nan, counters={})

    return run


def two_versions(about: str) -> Any:
    """Read the arguments of a benchmark that may run another version in turns with this one."""
    made = parser(about, threads=1)
    made.add_argument("--against", type=Path, help="folder of another version's source")
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--tiny", action="store_true", help="a tiny model: a test of this script")
    return made.parse_args()


def prefer(source: str) -> None:
    """Have a process import alignstudy from another folder."""
    sys.path.insert(0, source)


if __name__ == "__main__":
    sys.exit(main())
