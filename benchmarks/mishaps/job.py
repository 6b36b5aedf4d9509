"""One of the processes that make trials: its imports are done before it forks the first run.

    python -m mishaps.job JSON

`torture.py` starts it, with the library of `interpose.c` preloaded and this folder on the path.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mishaps import commands, study
from mishaps.bench import Bench, Verdict
from mishaps.commands import ENVIRONMENT, Ended, Place
from mishaps.kinds import KINDS

TRIALS = "trials.jsonl"


@dataclass(eq=False)
class Job:
    """Makes every `jobs`-th trial that isn't in the list yet.

    Attributes:
        work: The folder of the list.
        number: Which of the jobs it is.
        kinds: Of the trials to make.
        quick: Whether a few of each kind do.
        only: The one trial to make, kind and number; it is shown, and not listed.
    """

    work: Path
    number: int
    jobs: int
    kinds: list[str]
    quick: bool = False
    only: tuple[str, int] | None = None

    def run(self, scratch: Path) -> None:
        """Make them, in a scratch folder."""
        os.environ |= ENVIRONMENT
        import torch

        torch.set_num_threads(1)
        self._scratch = scratch
        self._study = study.write_study(scratch / "study")
        commands.import_what_runs_use(self._place("imports"))
        if self.only:
            self._show(*self.only)
            return
        done, starter = made_in(self.work), os.getppid()
        for kind in self.kinds:
            for i in self._trials(kind):
                if os.getppid() != starter:
                    return
                if (kind, i) not in done:
                    self._list(kind, i)

    def _trials(self, kind: str) -> Iterator[int]:
        """Yield this job's of a kind, in a drawn order: who stops it has made a sample."""
        known = KINDS[kind]
        if self.quick and not known.sample:
            return
        numbers = known.trials(self.bench(known.bench))
        random.Random(kind).shuffle(numbers)
        yield from numbers[: known.sample if self.quick else None][self.number :: self.jobs]

    @cache  # noqa: B019 - there is one job a process
    def bench(self, name: str) -> Bench:
        """Return the bench that a kind of trial is made on."""
        place = self._place(name, figures=name in ("figures", "workers"))
        golden = self._scratch / f"{name}.golden"
        start = commands.forked if name in ("forks", "figures") else commands.fresh
        return Bench(place=place, golden=golden, start=start)

    def _place(self, name: str, *, figures: bool = False) -> Place:
        root = self._scratch / name
        file = self._study if name != "workers" else study.with_workers(self._study)
        return Place(root=root, study=file, out=root / "run", figures=figures)

    def _list(self, kind: str, i: int) -> None:
        started = time.monotonic()
        verdict = KINDS[kind].trial(self.bench(KINDS[kind].bench), i)
        line = {"kind": kind, "i": i, **vars(verdict)}
        line["seconds"] = round(time.monotonic() - started, 2)
        with (self.work / TRIALS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _show(self, kind: str, i: int) -> None:
        bench = self.bench(KINDS[kind].bench)
        KINDS[kind].trials(bench)
        _ = bench.contents, bench.seconds
        bench.show = _tell
        print(_in_words(KINDS[kind].trial(bench, i)))
        kept = Path(tempfile.mkdtemp(prefix="torture-")) / "left"
        shutil.copytree(self._scratch, kept, symlinks=True)
        print(f"what it left: {kept}")


def made_in(work: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Read the trials that were made; a line that a kill cut short is none."""
    found = {}
    path = work / TRIALS
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found[line["kind"], line["i"]] = line
    return found


def _tell(ended: Ended) -> None:
    print(f"--- exit {ended.code} after {ended.seconds:.1f} s\n{ended.said}")


def _in_words(verdict: Verdict) -> str:
    return f"=== {verdict.what}: {verdict.outcome}{f': {verdict.why}' if verdict.why else ''}"


def memory_folder() -> Path | None:
    """Return a folder in memory, where there is one: there a run's flushes cost nothing."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else None


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["work"], given["only"] = Path(given["work"]), given["only"] and tuple(given["only"])
    with tempfile.TemporaryDirectory(prefix="torture-", dir=memory_folder()) as made:
        Job(**given).run(Path(made))
