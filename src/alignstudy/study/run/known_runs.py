"""Which runs need which artefacts of a store, so that no one frees what another needs.

A run writes down, before it reads anything, where its folder is and which artefacts it will read
or make: `<home>/runs/<id>.json`. It holds a lock beside it while it is at work. Who frees
something holds the lock of them all meanwhile, as does who writes a run down: a run either comes
first, and keeps what it needs, or comes after, and finds what was freed missing.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from alignstudy.errors import DamagedArtefactError
from alignstudy.progress import SILENT, Progress
from alignstudy.runtime.files import replace_text, sweep
from alignstudy.runtime.recorded import unreadable
from alignstudy.runtime.sealed import read_sealed, sealed
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.store import Store, disk_faults

State = Literal["running", "present", "absent", "gone"]


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """What a run wrote down.

    Attributes:
        entry: The file that it is written in.
        folder: The run folder; None of a command that has none (`check`).
        keys: Of the artefacts that it reads or makes.
        spared: Those of them whose weights it no longer needs.
    """

    entry: Path
    folder: Path | None
    keys: frozenset[str]
    spared: frozenset[str] = frozenset()

    @cached_property
    def state(self) -> State:
        """Whether it is at work, done and there, out of reach, or gone.

        "absent": not even the folder around its folder is there, as on a disk that isn't mounted.
        """
        with disk_faults(str(self.entry)):
            try:
                with self.lock.acquire(timeout=0):
                    pass
            except Timeout:
                return "running"
        if self.folder is None:
            return "gone"
        if self.folder.is_dir():
            return "present"
        return "gone" if self.folder.parent.is_dir() else "absent"

    @property
    def lock(self) -> FileLock:
        """What is held while it is at work."""
        return FileLock(self.entry.with_suffix(".lock"))

    @cached_property
    def needed(self) -> frozenset[str]:
        """Keys of the artefacts that it needs; what its folder shows of an earlier version, too."""
        if self.state == "gone":
            return frozenset()
        shown = () if self.folder is None else RunFolder(path=self.folder).last_keys().values()
        return self.keys | frozenset(shown)

    def needs_weights(self, key: str) -> bool:
        """Whether it needs an artefact's weights: while it is at work, it may of all."""
        return key in self.needed and (self.state == "running" or key not in self.spared)

    def write(self) -> None:
        """Write it down."""
        content = {
            "folder": None if self.folder is None else str(self.folder),
            "keys": sorted(self.keys),
            "spared": sorted(self.spared),
        }
        replace_text(self.entry, sealed(content))

    def forget(self) -> None:
        """Remove what it wrote down."""
        for path in (self.entry, self.entry.with_suffix(".lock")):
            path.unlink(missing_ok=True)


class KnownRuns:
    """The runs that a store knows of."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._root = store.root / "runs"

    @contextmanager
    def locked(self, progress: Progress = SILENT) -> Iterator[None]:
        """Hold what no run may begin without, and nothing may be freed without."""
        with disk_faults(f"the store at {self.store.root}"):
            self._root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._root / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                progress.note("another command frees disk in the store; waiting for it")
                lock.acquire()
            sweep(self._root)
        try:
            yield
        finally:
            lock.release()

    def all(self) -> list[KnownRun]:
        """Read every run that was written down, by folder.

        Raises:
            DamagedArtefactError: If one can't be read: what it needs isn't known.
        """
        found = []
        for path in self._root.glob("*.json"):
            with suppress(FileNotFoundError):  # of a command that just ended
                found.append(read_run(path))
        return sorted(found, key=lambda run: (run.folder is None, run.folder, run.entry))

    def entry_of(self, folder: Path) -> Path:
        """Return the file in which the run of a folder is written down, whether or not it is."""
        name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
        return self._root / f"{name[:32]}.json"

    @contextmanager
    def using(
        self, goals: Sequence[Stage], *, folder: Path | None = None, progress: Progress = SILENT
    ) -> Iterator[RunAtWork]:
        """Keep what leads to some goals from being freed while the block runs.

        Args:
            goals: Stages whose artefacts the run shows, whole.
            folder: The run folder: what it needs is kept for as long as it is there.
            progress: What is told if this has to wait.
        """
        folder = None if folder is None else folder.resolve()
        entry = self.entry_of(folder) if folder else self._root / f"{uuid.uuid4().hex}.json"
        keys = frozenset(stage.key for stage in in_order(goals))
        shown = {each.key for goal in goals for each in (goal, *goal.underlying())}
        with self.locked(progress):
            spared = (_spared_before(entry, progress) & keys) - shown
            run = KnownRun(entry=entry, folder=folder, keys=keys, spared=spared)
            with disk_faults(str(entry)):
                run.write()
                lock = run.lock
                lock.acquire()
        try:
            yield RunAtWork(self, run, shown)
        finally:
            if folder is None:
                run.forget()
            lock.release()


def _spared_before(entry: Path, progress: Progress) -> frozenset[str]:
    """Return the keys whose weights the run of a folder no longer needed; it is written anew."""
    try:
        return read_run(entry).spared
    except FileNotFoundError:
        return frozenset()
    except DamagedArtefactError as error:
        progress.note(f"{error.what}: written anew")
        return frozenset()


class RunAtWork:
    """A run that is written down, and at work.

    Args:
        runs: Where it is written down.
        run: What is written.
        shown: Keys of what its folder shows whole.
    """

    def __init__(self, runs: KnownRuns, run: KnownRun, shown: set[str]) -> None:
        self._runs, self._run, self.shown = runs, run, shown

    def drop_weights(self, stage: Stage) -> int | None:
        """Write down that a finished stage's weights aren't needed; drop them if nobody needs them.

        Returns:
            The bytes that are free now; None if the weights stay.
        """
        with self._runs.locked():
            self._run = replace(self._run, spared=self._run.spared | {stage.key})
            self._run.write()
            try:
                others = [run for run in self._runs.all() if run.entry != self._run.entry]
            except DamagedArtefactError:  # what that run needs isn't known: it may need these
                return None
            if any(run.needs_weights(stage.key) for run in others):
                return None
            return self._runs.store.drop_weights(stage.kind, stage.key)


def read_run(path: Path) -> KnownRun:
    """Read what a run wrote down.

    Raises:
        FileNotFoundError: If there is nothing.
        DamagedArtefactError: If it isn't what was written.
        EnvironmentFault: If this user may not read it.
    """
    hint = "run that study again, or delete the file: what only it needed can then be freed"
    try:
        content = read_sealed(path, what="what a run wrote down of its needs", hint=hint)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    folder = content["folder"]
    return KnownRun(
        entry=path,
        folder=None if folder is None else Path(folder),
        keys=frozenset(content["keys"]),
        spared=frozenset(content["spared"]),
    )
