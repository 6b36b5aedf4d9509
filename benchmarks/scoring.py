"""Times scoring at DeBERTa-v3-large's shape: one pair at a time as the notebook did, against ours.

    python benchmarks/scoring.py [--quick] [--pairs 10]

The texts are prompts and responses of the published study (ALIGNSTUDY_PAPER_DIR); weights are
random, the vocabulary is 8,192. Scores must agree within 1e-5.
"""

from __future__ import annotations

import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import notebook_way
import ours
from harness import (
    Gate,
    Report,
    Section,
    Side,
    gate_on_ratio,
    in_turns,
    parser,
    ratio,
    shared_machine,
)
from materials import published_responses, write_judge

ALONE = "notebook: one by one, 1 thread"
ALONE_BOTH = "notebook: one by one, 2 threads"
ONE = "ours, 1 process"
TWO = "ours, 2 processes"
MAX_LENGTH = 512


def main() -> int:
    """Measure, write the results, give the exit code."""
    asked = _arguments()
    pairs = random.Random(0).sample(published_responses(), asked.pairs)
    settings = {
        "Model": f"DeBERTa-v3-large's shape ({asked.layers} layers x 1,024), vocabulary 8,192,"
        " random weights",
        "Texts": f"{len(pairs)} pairs drawn from the published responses, float32",
        "Threads": asked.threads,
        "Rounds": asked.rounds,
    }
    report = Report(
        name="scoring", title="Scoring: the notebooks' way and ours", settings=settings,
        quick=asked.quick,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        _measure(report, Path(scratch) / "judge", pairs, asked)
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "")
    made.add_argument("--pairs", type=int, help="texts to score; 10, quick: 4")
    made.add_argument("--rounds", type=int, help="2, quick: 1")
    asked = made.parse_args()
    asked.pairs = asked.pairs or (4 if asked.quick else 10)
    asked.layers = 6 if asked.quick else 24
    asked.rounds = asked.rounds or (1 if asked.quick else 2)
    return asked


def _measure(report: Report, folder: Path, pairs: list[tuple[str, str]], asked: Any) -> None:
    theirs_do = partial(notebook_way.score, folder, pairs, max_length=MAX_LENGTH)
    ours_do = partial(ours.score, folder, pairs, max_length=MAX_LENGTH)
    with Side(asked.threads) as theirs, Side(2) as wide, Side(asked.threads) as mine:
        written = theirs.begin(write_judge, folder, num_hidden_layers=asked.layers)
        kernels = mine.call(ours.settle)
        written.result()
        for side, work in ((theirs, notebook_way.score), (mine, ours.score)):
            side.call(work, folder, pairs[:1], max_length=MAX_LENGTH)
        report.facts["Products of this processor (GF/s)"] = kernels
        ways = {
            ALONE: partial(theirs.call, theirs_do),
            ONE: partial(mine.call, ours_do),
            TWO: partial(mine.call, ours_do, workers=2),
        }
        rounds = dict.fromkeys(ways, asked.rounds)
        if not asked.quick:
            ways[ALONE_BOTH] = partial(wide.call, theirs_do)
            rounds[ALONE_BOTH] = 1
        found = in_turns(ways, rounds)
    unit = f"{len(pairs)} pairs"
    report.add(Section(title="Scoring", samples=found, baseline=ALONE, clock="wall", unit=unit))
    one, two = ratio(found[ALONE], found[ONE]), ratio(found[ALONE], found[TWO], "wall")
    slow = _no_faster_route(kernels)
    shared = shared_machine(found[ALONE], found[ONE])
    little = "a quick run is too little work for two processes to pay" if asked.quick else ""
    few = f"this machine has {ours.cores()} core" if ours.cores() < 2 else ""
    report.gates += [
        gate_on_ratio("Scoring, 1 process (processor)", one, 1.4, 1.9, unless=slow),
        gate_on_ratio(
            "Scoring, 2 processes (clock)", two, 1.4, 3.5, unless=few or little or shared
        ),
    ]
    if slow:
        report.gates.append(gate_on_ratio("Scoring, 1 process, not slower", one, 0.9))
    scores = {name: runs[-1].found for name, runs in found.items()}
    for name in (ONE, TWO):
        worst = max(abs(a - b) for a, b in zip(scores[ALONE], scores[name], strict=True))
        report.gates.append(
            Gate(
                name=f"Largest difference of scores, {name}",
                measured=worst,
                required=1e-5,
                at_least=False,
            )
        )
    report.facts["Spread of the scores"] = max(scores[ALONE]) - min(scores[ALONE])


def _no_faster_route(kernels: dict[str, Any]) -> str:
    """Say that this processor has no faster float32 route than torch's own, if it hasn't."""
    if kernels["route"] != "default":
        return ""
    return (
        f"torch's own route is the fastest for float32 products, {kernels['default']:.0f} GF/s;"
        " one by one, both sides then do the same"
    )


if __name__ == "__main__":
    sys.exit(main())
