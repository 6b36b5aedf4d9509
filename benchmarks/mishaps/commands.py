"""`alignstudy run` as a process that can be killed: forked from this one, or a fresh command."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from harness import OFFLINE, THREAD_VARIABLES

from mishaps.disk import Mishap

ENVIRONMENT = {
    **OFFLINE,
    **dict.fromkeys(THREAD_VARIABLES, "1"),
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "Agg",
}
PATIENCE = 180.0
"""Seconds after which a run hangs."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study is run.

    Attributes:
        root: Of home and run folder, and of what processes said.
        study: The study file.
        out: The run folder.
        verb: `run`, or another that takes a run folder.
        figures: Whether they are drawn, which takes most of such a study's time.
    """

    root: Path
    study: Path
    out: Path
    figures: bool = False
    verb: str = "run"

    @property
    def home(self) -> Path:
        """ALIGNSTUDY_HOME."""
        return self.root / "home"

    @property
    def watched(self) -> tuple[Path, Path]:
        """The two folders whose operations are counted."""
        return self.home, self.out

    @property
    def arguments(self) -> list[str]:
        """Return the command line, from the verb on."""
        if self.verb == "run":
            return ["run", str(self.study), "--out", str(self.out)]
        return [self.verb, str(self.out)]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code; less than 0: the signal that killed it; None: it hung, and was killed.
        said: What it printed.
        seconds: Of the clock.
    """

    code: int | None
    said: str
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Whether it showed the user what only we should see."""
        return "Traceback (most recent call last)" in self.said


@dataclass
class Process:
    """A process at work."""

    pid: int
    log: Path
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._descriptor = os.pidfd_open(self.pid)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        return bool(waiting.poll(1000 * max(0.0, seconds)))

    def kill(self) -> None:
        """End it at once, and what it started."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # one that was killed at once leads no group yet
            os.killpg(self.pid, signal.SIGKILL)

    def ended(self, patience: float) -> Ended:
        """Wait for its end, and say how it was; one that hangs is killed."""
        in_time = self.wait(patience)
        if not in_time:
            self.kill()
        _, status = os.waitpid(self.pid, 0)
        self._kill_group()  # what it left behind
        os.close(self._descriptor)
        code = os.waitstatus_to_exitcode(status) if in_time else None
        said = self.log.read_text(encoding="utf-8", errors="replace")
        self.log.unlink()
        return Ended(code=code, said=said, seconds=time.monotonic() - self.started)


_WITHOUT_FIGURES = """
from alignstudy.study.tools import report
report.write_figures = lambda *_, **__: ()
from alignstudy.cli.app import main
main()
"""

Start = Callable[[Place, Mishap | None], Process]
"""Starts the command in a process of its own."""


def _log(place: Place) -> Path:
    place.root.mkdir(parents=True, exist_ok=True)
    log = place.root.with_name(f"said-{time.monotonic_ns()}.txt")
    log.touch()  # who is killed at once says nothing
    return log


def fresh(place: Place, mishap: Mishap | None = None) -> Process:
    """Start the command in a fresh interpreter."""
    log = _log(place)
    given = {"ALIGNSTUDY_HOME": str(place.home)}
    given |= mishap.variables(place.watched) if mishap else {}
    to_log = (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600)
    command = ["-m", "alignstudy"] if place.figures else ["-c", _WITHOUT_FIGURES]
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *command, *place.arguments],
        {**os.environ, **ENVIRONMENT, **given},
        file_actions=[to_log, (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
    )
    return Process(pid, log)


def forked(place: Place, mishap: Mishap | None = None, *, told_to: Path | None = None) -> Process:
    """Start the command in a fork of this process, whose imports are done.

    Args:
        place: Where.
        mishap: What happens to it.
        told_to: A file for the names of the modules that it used.
    """
    log = _log(place)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        _be_the_command(place, mishap, log, told_to)
    return Process(pid, log)


def _be_the_command(
    place: Place, mishap: Mishap | None, log: Path, told_to: Path | None
) -> NoReturn:
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ["ALIGNSTUDY_HOME"] = str(place.home)
        sys.argv = ["alignstudy", *place.arguments]
        from alignstudy.cli.app import main

        if not place.figures:
            from alignstudy.study.tools import report

            setattr(report, "write_figures", lambda *_, **__: ())  # noqa: B010
        if mishap is not None:
            mishap.arm(place.watched)
        main(place.arguments)
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        if told_to is not None:
            told_to.write_text(json.dumps([*sys.modules]), encoding="utf-8")
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def import_what_runs_use(place: Place) -> None:
    """Run the study in a fork, and import here what was imported there.

    Raises:
        SystemExit: If it doesn't run.
    """
    listing = place.root.with_suffix(".modules")
    process = forked(place, told_to=listing)
    ended = process.ended(PATIENCE)
    if ended.code != 0:
        sys.exit(f"the study doesn't run:\n{ended.said}")
    for name in json.loads(listing.read_text(encoding="utf-8")):
        with suppress(ImportError):
            importlib.import_module(name)
