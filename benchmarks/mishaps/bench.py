"""Where trials are made: the study, how it ends undisturbed, and how a trial is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from signal import SIGKILL
from typing import Literal

from mishaps import trees
from mishaps.commands import PATIENCE, Ended, Place, Start, forked
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
            self.run(Mishap(log=stream.fileno()))
        wrong = [*trees.differences(self.contents, self.found(), damaged=False)]
        if wrong:
            raise RuntimeError(f"two undisturbed runs don't leave the same: {wrong}")
        lines = log.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        kinds = (line.partition("\t") for line in lines)
        return [(kind, path.removeprefix(f"{self.place.root}/")) for kind, _, path in kinds]

    @property
    def seconds(self) -> float:
        """How long an undisturbed run takes."""
        assert self.finished
        return self._seconds

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

    def run(self, mishap: Mishap | None = None, *, kill_after: float | None = None) -> Ended:
        """Run the command, and kill it after some seconds if asked to."""
        process = self.start(self.place, mishap)
        if kill_after is not None and not process.wait(kill_after):
            process.kill()
        return self.note(process.ended(self.patience))

    def note(self, ended: Ended) -> Ended:
        """Keep how a process of this trial ended."""
        self.ends.append(ended)
        self.show(ended)
        return ended

    def judge(
        self,
        what: str,
        *,
        damaged: bool = False,
        kept: str = "",
        believed: Callable[[], bool] = lambda: False,
        mend: Callable[[], None] = lambda: None,
    ) -> Verdict:
        """Run the same command until it ends well, and say how the trial ended.

        Args:
            what: What was done to the run.
            damaged: Whether that may have left something to be set aside.
            kept: A file that isn't ours, and must be there in the end.
            believed: Whether the damage is still where it was done.
            mend: What a person does whom the first refusal told what is wrong.
        """
        verdict = partial(Verdict, what=what)
        told = any(ended.code in TOLD for ended in self.ends)
        for _ in range(ATTEMPTS):
            if self.run().code == 0:
                break
            if self.ends[-1].code in TOLD:
                told = True
                mend()
        for ended in self.ends:
            if fault := _fault(ended):
                return verdict(outcome="traceback", why=fault)
        last = self.ends[-1]
        if last.code != 0:
            how = "hung" if last.code is None else f"exit {last.code}"
            return verdict(outcome="stuck", why=f"{how}: {last.said[-600:]}")
        wrong = [
            *trees.differences(self.contents, self.found(), damaged=damaged, kept=kept),
            *(["the damage was believed"] if believed() else []),
        ]
        if wrong:
            return verdict(outcome="silent", why="; ".join(wrong)[:600])
        return verdict(outcome="detected" if told else "survived")


def _fault(ended: Ended) -> str:
    """Return what a process did that none may; empty where it didn't."""
    if ended.has_traceback:
        return ended.said[ended.said.index("Traceback") :][-600:]
    if ended.code in {None, 0, -SIGKILL, CRASHED, *TOLD}:
        return ""
    return f"exit {ended.code}: {ended.said[-600:]}"
