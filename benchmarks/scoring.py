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
from harness import Gate, Report, Section, Side, gate_on_ratio, in_turns, parser, ratio
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
        folder = write_judge(Path(scratch) / "judge", num_hidden_layers=asked.layers)
        _measure(report, folder, pairs, asked)
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "")
    made.add_argument("--pairs", type=int, help="texts to score; 10")
    made.add_argument("--rounds", type=int, help="2, quick: 1")
    asked = made.parse_args()
    asked.pairs = asked.pairs or 10
    asked.layers = 6 if asked.quick else 24
    asked.rounds = asked.rounds or (1 if asked.quick else 2)
    return asked


def _measure(report: Report, folder: Path, pairs: list[tuple[str, str]], asked: Any) -> None:
    theirs_do = partial(notebook_way.score, folder, pairs, max_length=MAX_LENGTH)
    ours_do = partial(ours.score, folder, pairs, max_length=MAX_LENGTH)
    with Side(asked.threads) as theirs, Side(2) as wide, Side(asked.threads) as mine:
        report.facts["Products of this processor (GF/s)"] = mine.call(ours.settle)
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
    one = ratio(found[ALONE], found[ONE])
    report.gates.append(gate_on_ratio("Scoring, 1 process (processor)", one, 1.4, 1.9))
    two = ratio(found[ALONE], found[TWO], "wall")
    report.gates.append(_gate_of_two(two))
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


def _gate_of_two(times: Any) -> Gate:
    name = "Scoring, 2 processes (clock)"
    if ours.cores() >= 2:
        return gate_on_ratio(name, times, 1.4, 3.5)
    why = f"this machine has {ours.cores()} core"
    return Gate(name=name, measured=times.median, required=1.4, aim=3.5, not_measurable=why)


if __name__ == "__main__":
    sys.exit(main())
