"""Two runs at once on one store, and runs of several workers; either may be killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mishaps import trees
from mishaps.bench import BAD, Bench, Verdict

SHOWN = ("run/responses/", "run/tables/", "run/classification/", "run/statistics.json")
"""What a run folder shows that doesn't name the folder."""


def beside(bench: Bench, i: int) -> Verdict:
    """Run the study twice at once, into one folder (even i) or two; kill the first (i % 4 > 1)."""
    drawn = random.Random(f"beside {i}")
    bench.begin()
    place = bench.place
    other = replace(place, out=place.out.with_name("other")) if i % 2 else place
    first = bench.start(place, None)
    first.wait(drawn.random() * bench.seconds)
    second = bench.start(other, None)
    if i % 4 > 1:
        second.wait(drawn.random() * bench.seconds)
        first.kill()
    for process in (first, second):
        bench.note(process.ended(bench.patience))
    words = f"two runs into {1 + i % 2} folders{', the first killed' if i % 4 > 1 else ''}"
    wrong = _take_away(bench, other.out) if other is not place else ""
    verdict = bench.judge(words)
    if wrong and verdict.outcome not in BAD:
        return Verdict(outcome="silent", what=words, why=wrong)
    return verdict


def _take_away(bench: Bench, out: Path) -> str:
    """Take the second run folder away, with what says that it is there; say what is wrong in it."""
    found = trees.contents(out)
    wrong = [
        name
        for name, digest in bench.contents.items()
        if name.startswith(SHOWN) and found.get(name.removeprefix("run/")) != digest
    ]
    shutil.rmtree(out)
    for path in (bench.place.home / "runs").iterdir():
        if path.relative_to(bench.place.root).as_posix() not in bench.contents:
            path.unlink()
    return f"in the second folder: {wrong[:5]}" if wrong else ""


def workers(bench: Bench, i: int) -> Verdict:
    """Kill a worker of a run, or (every third) the run itself."""
    drawn = random.Random(f"workers {i}")
    bench.begin()
    process = bench.start(bench.place, None)
    process.wait((0.3 + 0.6 * drawn.random()) * bench.seconds)
    children = _children(process.pid)
    if i % 3 == 2 or not children:
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.kill(drawn.choice(children), signal.SIGKILL)
    bench.note(process.ended(bench.patience))
    return bench.judge("the run killed" if i % 3 == 2 else "a worker killed")


def _children(pid: int) -> list[int]:
    """List the processes that a process started."""
    with suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
        return [int(each) for each in listed.split()]
    return []
