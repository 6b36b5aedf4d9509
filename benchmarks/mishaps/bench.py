"""Where trials are made: the study, how it ends undisturbed, and how a trial is judged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from signal import SIGKILL
from typing import Literal

from mishaps import trees
from mishaps.commands import PATIENCE, Ended, Place, Start, forked
from mishaps.damage import Damage
from mishaps.disk import CRASHED, Mishap

Outcome = Literal["survived", "detected", "silent", "stuck", "traceback"]
BAD: tuple[Outcome, ...] = ("silent", "stuck", "traceback")
OUTCOMES: tuple[Outcome, ...] = ("survived", "detected", *BAD)

TOLD = {3, 4}
"""Exit codes of a fault that was detected: the machine's, a damaged artefact."""

ATTEMPTS = 3
"""How often the same command may be needed."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a trial ended.

    Attributes:
        what: What was done to the run.
        why: What is wrong; empty where it survived.
    """

    outcome: Outcome
    what: str
    why: str = ""


@dataclass
class Bench:
    """One place, used for one trial after another.

    Attributes:
        place: Where the study is run; its root holds nothing else.
        golden: A folder for its states.
        start: How the command is started.
        patience: Seconds after which a run hangs.
        show: Told of every process that ended.
    """

    place: Place
    golden: Path
    start: Start = forked
    patience: float = PATIENCE
    show: Callable[[Ended], None] = lambda ended: None
    ends: list[Ended] = field(default_factory=list)

    @cached_property
    def finished(self) -> Path:
        """What an undisturbed run leaves."""
        folder = self._golden("finished", Mishap())
        self._seconds = self.ends[-1].seconds
        return folder

    @cached_property
    def contents(self) -> dict[str, str]:
        """What it says, by name."""
        return trees.contents(self.finished)

    @cached_property
    def operations(self) -> list[tuple[str, str]]:
        """The operations of an undisturbed run, by kind and path.

        Raises:
            RuntimeError: If two undisturbed runs don't leave the same.
        """
        self.begin()
        log = self.place.root.with_suffix(".operations")
        with log.open("wb") as stream:
            os.set_inheritable(stream.fileno(), True)
            self.run(Mishap(log=stream.fileno()))
        wrong = [*trees.differences(self.contents, self.found(), damaged=False)]
        if wrong:
            raise RuntimeError(f"two undisturbed runs don't leave the same: {wrong}")
        lines = log.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        kinds = (line.partition("\t") for line in lines)
        return [(kind, path.removeprefix(f"{self.place.root}/")) for kind, _, path in kinds]

    @property
    def seconds(self) -> float:
        """How long an undisturbed run takes, as the last ones took."""
        assert self.finished
        return self._seconds

    @seconds.setter
    def seconds(self, taken: float) -> None:
        self._seconds = taken

    @cached_property
    def halfway(self) -> Path:
        """What a run left that was killed when a training's last checkpoint was sealed."""
        numbers = [
            number
            for number, (kind, path) in enumerate(self.operations, start=1)
            if kind == "rename" and path.startswith("home/work/")
        ]
        return self._golden("halfway", Mishap(at=numbers[-1], after=True))

    def _golden(self, name: str, mishap: Mishap) -> Path:
        """Keep what a run leaves.

        Raises:
            RuntimeError: If it ended otherwise than it should.
        """
        self.begin()
        ended = self.run(mishap)
        if ended.code != (CRASHED if mishap.at else 0):
            raise RuntimeError(f"the study doesn't run as it should:\n{ended.said}")
        trees.replace(self.golden / name, self.place.root)
        return self.golden / name

    def found(self) -> dict[str, str]:
        """What lies there now says, by name."""
        return trees.contents(self.place.root)

    def begin(self, state: Path | None = None) -> None:
        """Begin a trial in a state; None: with nothing."""
        trees.replace(self.place.root, state)
        self.ends = []

    def run(
        self, mishap: Mishap | None = None, *, kill_after: float | None = None, verb: str = "run"
    ) -> Ended:
        """Run the command, or another verb, and kill it after some seconds if asked to."""
        process = self.start(replace(self.place, verb=verb), mishap)
        if kill_after is not None and not process.wait(kill_after):
            process.kill()
        return self.note(process.ended(self.patience))

    def note(self, ended: Ended) -> Ended:
        """Keep how a process of this trial ended."""
        self.ends.append(ended)
        self.show(ended)
        return ended

    def judge(self, what: str, damage: Damage | None = None) -> Verdict:
        """Run the same command until it ends well, and say how the trial ended.

        Args:
            what: What was done to the run.
            damage: To its files.
        """
        self._until_well(damage)
        unfound = self._unread(damage) if damage is not None and damage.stays() else ""
        for ended in self.ends:
            if fault := _fault(ended):
                return Verdict(outcome="traceback", what=what, why=fault)
        last = self.ends[-1]
        if last.code != 0:
            how = "hung" if last.code is None else f"exit {last.code}"
            return Verdict(outcome="stuck", what=what, why=f"{how}: {last.said[-600:]}")
        kept = damage.kept if damage else ""
        wrong = trees.differences(
            self.contents, self.found(), damaged=damage is not None, kept=kept
        )
        if why := "; ".join([*filter(None, [unfound]), *wrong])[:600]:
            return Verdict(outcome="silent", what=what, why=why)
        told = any(ended.code in TOLD for ended in self.ends)
        return Verdict(outcome="detected" if told else "survived", what=what)

    def _until_well(self, damage: Damage | None) -> None:
        """Give the same command, some times at most; do what a person does who was told."""
        for _ in range(ATTEMPTS):
            code = self.run().code
            if code == 0:
                return
            if code in TOLD and damage is not None:
                damage.mend()

    def _unread(self, damage: Damage) -> str:
        """Have damage found that a run had no need to see; say what is wrong if it isn't.

        If it is in an artefact, `verify` must find it; then all but what was damaged is made anew,
        so that it is read.
        """
        store = self.place.home / "store"
        if self.run(verb="verify").code == 0 and store in damage.place.parents:
            return "the damage was neither mended nor found by verify"
        for kind in store.iterdir():
            if kind not in damage.place.parents:
                shutil.rmtree(kind)
        self._until_well(damage)
        return "the damage was believed" if damage.stays() else ""


def _fault(ended: Ended) -> str:
    """Return what a process did that none may; empty where it didn't."""
    if ended.has_traceback:
        return ended.said[ended.said.index("Traceback") :][-600:]
    if ended.code in {None, 0, -SIGKILL, CRASHED, *TOLD}:
        return ""
    return f"exit {ended.code}: {ended.said[-600:]}"
