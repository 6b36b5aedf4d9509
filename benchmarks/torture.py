"""Kills runs, fails their disk, damages their files; counts what the same command can't mend.

    python benchmarks/torture.py [--jobs 2] [--quick] [--kinds kill,flip] [--only KIND:I]

A study of two seconds is run in forks of a process whose imports are done. Every trial does one
thing to a run, gives the same command again until it ends well, and holds what then lies in store
and run folder against what an undisturbed run leaves. A trial

    survived    all is the same but for what depends on the clock, and nothing is left over
    detected    likewise, once a message and exit code 3 or 4 had told what is wrong
    silent      something is otherwise, or damage was believed
    stuck       the command never ends well
    traceback   a message for us, or an exit code that says something else

The last three must not happen. Every trial is a line of `trials.jsonl` in the folder --work: what
is there is not made again. The i-th of a kind is always the same: `--only flip:17` shows it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import OFFLINE
from mishaps import disk
from mishaps.bench import BAD, OUTCOMES
from mishaps.job import made_in
from mishaps.kinds import KINDS
from results import Report, at_most, parser, table


def main() -> int:
    """Make the trials that are missing; show and write the table; return the exit code."""
    made = parser(__doc__ or "")
    made.add_argument("--jobs", type=int, default=1, help="trials made at the same time")
    made.add_argument("--quick", action="store_true", help="a few trials of each kind")
    made.add_argument("--kinds", default=",".join(KINDS), help="which, separated by commas")
    made.add_argument("--only", metavar="KIND:I", help="make one trial, and show all that it said")
    made.add_argument("--work", type=Path, default=Path("build/torture"), help="of trials.jsonl")
    asked = made.parse_args()
    unknown = set(asked.kinds.split(",")) - set(KINDS)
    if unknown:
        made.error(f"no kind of trial: {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")
    asked.work.mkdir(parents=True, exist_ok=True)
    report = _report(asked)
    code = _make(asked)
    if code or asked.only:
        return code
    trials = [
        line for (kind, _), line in made_in(asked.work).items() if kind in asked.kinds.split(",")
    ]
    _fill(report, trials)
    return report.finish(asked.out)


def _make(asked: Namespace) -> int:
    """Start the jobs and wait for them; return the first exit code that isn't 0."""
    jobs = 1 if asked.only else asked.jobs
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        variables = {
            **os.environ,
            **OFFLINE,
            "LD_PRELOAD": str(disk.build(Path(folder))),
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
            ),
        }
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "mishaps.job", json.dumps(_job(asked, number, jobs))],
                env=variables,
            )
            for number in range(jobs)
        ]
        return next(filter(None, [process.wait() for process in started]), 0)


def _job(asked: Namespace, number: int, jobs: int) -> dict[str, Any]:
    kind, _, i = (asked.only or "").partition(":")
    return {
        "work": str(asked.work),
        "number": number,
        "jobs": jobs,
        "kinds": asked.kinds.split(","),
        "quick": asked.quick,
        "only": [kind, int(i)] if asked.only else None,
    }


def _report(asked: Namespace) -> Report:
    settings = {
        "Study": "2 models, 2 trainings with checkpoints, 6 prompts, a judge; 1 thread",
        "Trials at the same time": asked.jobs,
    }
    title = "Torture: what the same command mends"
    return Report(name="torture", title=title, settings=settings, quick=asked.quick)


def _fill(report: Report, trials: Sequence[Mapping[str, Any]]) -> None:
    """Count outcomes by kind."""
    rows = []
    for kind, known in KINDS.items():
        of_kind = [line for line in trials if line["kind"] == kind]
        if of_kind:
            counts = Counter(line["outcome"] for line in of_kind)
            seconds = statistics.median(line["seconds"] for line in of_kind)
            shown = (counts[outcome] for outcome in OUTCOMES)
            rows.append((known.about, len(of_kind), *shown, f"{seconds:.1f}"))
    head = ("what was done", "trials", *OUTCOMES, "median s")
    report.facts["Trials"] = f"\n\n{table(head, rows)}"
    counts = Counter(line["outcome"] for line in trials)
    report.gates += [at_most(f"trials that ended {bad}", counts[bad], 0) for bad in BAD]
    for line in trials:
        if line["outcome"] in BAD:
            name = f"{line['kind']}:{line['i']} {line['outcome']}"
            report.facts[name] = f"{line['what']}: {line['why']}"


if __name__ == "__main__":
    sys.exit(main())
