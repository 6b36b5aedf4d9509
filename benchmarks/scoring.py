"""Times scoring at DeBERTa-v3-large's shape: one pair at a time as the notebook did, against ours.

    python benchmarks/scoring.py [--quick] [--pairs 7]

The texts are prompts and responses of the published study (ALIGNSTUDY_PAPER_DIR); weights are
random, the vocabulary is 8,192. Scores must agree within 1e-5.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import notebook_way
import ours
from harness import (
    TOO_LITTLE,
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
    found, kernels = _measure(report, pairs, asked)
    unit = f"{len(pairs)} pairs"
    report.add(Section(title="Scoring", samples=found, baseline=ALONE, clock="wall", unit=unit))
    report.gates += _gates_on_time(found, slow=_no_faster_route(kernels))
    scores = {way: runs[-1].found for way, runs in found.items()}
    for way in (way for way in (ONE, TWO) if way in scores):
        worst = max(abs(a - b) for a, b in zip(scores[ALONE], scores[way], strict=True))
        report.gates.append(at_most(f"Largest difference of scores, {way}", worst, 1e-5))
    report.facts["Spread of the scores"] = max(scores[ALONE]) - min(scores[ALONE])
    return report.finish(asked.out)


def _arguments() -> Any:
    made = parser(__doc__ or "")
    made.add_argument("--pairs", type=int, help="texts to score; 7, quick: 4")
    made.add_argument("--rounds", type=int, help="2, quick: 1")
    asked = made.parse_args()
    asked.pairs = asked.pairs or (4 if asked.quick else 7)
    asked.layers = 6 if asked.quick else 24
    asked.rounds = asked.rounds or (1 if asked.quick else 2)
    return asked


def _measure(
    report: Report, pairs: list[tuple[str, str]], asked: Any
) -> tuple[dict[str, list[Sample]], dict[str, Any]]:
    """Score in turns; give the runs by way, and what was measured of the processor."""
    with both_sides(asked.threads) as (scratch, theirs, mine), Side(2) as wide:
        folder = scratch / "judge"
        written = theirs.begin(write_judge, folder, num_hidden_layers=asked.layers)
        kernels = mine.call(ours.settle)
        report.facts["Products of this processor (GF/s)"] = kernels
        written.result()
        for side, work in ((theirs, notebook_way.score), (mine, ours.score)):
            side.call(work, folder, pairs[:1], max_length=MAX_LENGTH)
        theirs_do = partial(notebook_way.score, folder, pairs, max_length=MAX_LENGTH)
        ours_do = partial(ours.score, folder, pairs, max_length=MAX_LENGTH)
        ways: dict[str, Callable[[], Sample]] = {
            ALONE: partial(theirs.call, theirs_do),
            ONE: partial(mine.call, ours_do),
        }
        rounds = dict.fromkeys((ALONE, ONE, TWO), asked.rounds) | {ALONE_BOTH: 1}
        if asked.quick:
            return in_turns(ways, rounds), kernels
        ways[TWO] = partial(mine.call, ours_do, workers=2)
        ways[ALONE_BOTH] = partial(wide.call, theirs_do)
        with_start = ways[TWO]()
        found = in_turns(ways, rounds)
        report.facts["Start of 2 processes (s)"] = with_start.wall - found[TWO][0].wall
        return found, kernels


def _gates_on_time(found: Mapping[str, Sequence[Sample]], *, slow: str) -> list[Gate]:
    alone = found[ALONE]
    one = ratio(alone, found[ONE])
    gates = [gate_on_ratio("Scoring, 1 process (processor)", one, 1.4, 1.9, unless=slow)]
    if slow:
        gates.append(gate_on_ratio("Scoring, 1 process, not slower", one, 0.9))
    name, required, aim = "Scoring, 2 processes (clock)", 1.4, 3.5
    if TWO not in found:
        return [*gates, Gate(name=name, measured=None, required=required, aim=aim,
                             not_measurable=TOO_LITTLE)]  # fmt: skip
    two, unless = ratio(alone, found[TWO], "wall"), two_cannot_show(alone, found[ONE])
    return [*gates, gate_on_ratio(name, two, required, aim, unless=unless)]


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
