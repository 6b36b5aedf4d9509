"""The run folder: what people read; everything in it is copied or linked from the store.

What was placed stands in its manifest, which proves itself. A run writes down what it is about to
place before it does, removes only what it placed itself, and never follows a link.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alignstudy.errors import DamagedArtefactError, InputError, LockHeldError
from alignstudy.runtime.files import remove_empty, replace_text, sweep, unfinished
from alignstudy.runtime.recorded import changed, unreadable
from alignstudy.runtime.sealed import read_sealed, sealed
from alignstudy.study.run.manifest import MANIFEST
from alignstudy.study.run.pieces import Piece, Placed, PlacedFile, text_piece
from alignstudy.study.run.store import disk_faults

PROVENANCE = "provenance.json"
LOCK = ".lock"
AGAIN = "run the same command again: what is stored is placed anew, nothing is recomputed"


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A folder `runs/<study>`."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; what a killed one left half written is swept away.

        Raises:
            LockHeldError: If another process holds it.
            EnvironmentFault: If the folder can't be written.
            InputError: If it is a file, or a folder that holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out {self.path} is a file", hint="name a folder")
        names = {item.name for item in self.path.iterdir()} if self.path.is_dir() else set()
        if names and not names & {PROVENANCE, MANIFEST, LOCK}:
            raise InputError(
                f"{self.path} is not an alignstudy run",
                why=f"it holds other files ({sorted(names)[0]}, ...)",
                hint="name a new or empty folder with --out",
                kept="its files; nothing was written",
            )
        with disk_faults(f"the run folder {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise LockHeldError(
                    f"another process works on {self.path}",
                    why=f"it holds {self.path / LOCK}",
                    hint="wait for it to end, or give this run another folder with --out",
                    kept="everything; this process wrote nothing",
                ) from None
            sweep(self.path)
        try:
            yield
        finally:
            lock.release()

    def provenance(self) -> dict[str, Any]:
        """Return the last run's record; empty if there was none that can be read."""
        try:
            record = json.loads((self.path / PROVENANCE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}

    def last_keys(self) -> Mapping[str, str]:
        """Return stage name -> key, as the last runs in this folder left them."""
        lines = self.provenance().get("stages")
        found = (
            (line for line in lines if isinstance(line, dict)) if isinstance(lines, list) else ()
        )
        return {
            str(line["stage"]): str(line["key"]) for line in found if {"stage", "key"} <= {*line}
        }

    def placed(self) -> Placed:
        """Read the manifest; that of a folder which has none says that nothing was placed.

        Raises:
            DamagedArtefactError: If it isn't what was written.
            EnvironmentFault: If this user may not read it.
        """
        try:
            found = read_sealed(self.path / MANIFEST, what="a run's manifest", hint=AGAIN)
        except FileNotFoundError:
            return Placed()
        except OSError as error:
            raise unreadable(self.path / MANIFEST, error) from error
        return Placed(study=found["study"], files=found["files"], placing=found["placing"])

    def check(self, *names: str) -> None:
        """Hold files that are about to be read against the manifest, where there is one.

        Args:
            names: Of files; of a folder all that was placed in it.

        Raises:
            DamagedArtefactError: If one was changed since it was placed, or the manifest was.
        """
        for name, entry in self.placed().files.items():
            if any(name == each or name.startswith(f"{each}/") for each in names):
                why = self._link_on_the_way(name) or changed(self.path / name, entry)
                if why:
                    raise DamagedArtefactError(
                        f"{self.path / name} is not what the run placed there",
                        why=why,
                        hint=AGAIN,
                        kept="the file as it is",
                    )

    def standing(self) -> str:
        """Say what a reader must know of the results first; "" where they are of one study.

        Raises:
            DamagedArtefactError: If the manifest isn't what was written.
            EnvironmentFault: If this user may not read it.
        """
        placed, last = self.placed(), self.provenance()
        if not placed.files and not placed.placing:
            return f"this folder has no manifest ({MANIFEST}): whether it was changed can't be told"
        if placed.placing:
            return f"a run was stopped while it placed results here; {AGAIN}"
        if any(entry["study"] not in {"", placed.study} for entry in placed.files.values()):
            return (
                "this folder shows results of several settings: the last run here was asked for"
                " some stages only; run the study whole"
            )
        if last.get("settings_sha256", placed.study) != placed.study:
            return (
                f"stale: the last run here, of other settings, {last.get('status', 'ended')} before"
                " it had results; these are of the settings in resolved.yaml"
            )
        return ""

    def refuse_links(self, names: Iterable[str]) -> None:
        """Refuse places that a link leads away from: a run writes into its own folder only.

        Raises:
            InputError: Naming the first link.
        """
        for name in names:
            if link := self._link_on_the_way(name):
                raise InputError(
                    f"{self.path / name} can't be placed",
                    why=link,
                    hint="remove the link (what it leads to stays), or put the whole run folder"
                    " elsewhere with --out",
                    kept="all that the link leads to: nothing was written or removed there",
                )

    def _link_on_the_way(self, name: str) -> str:
        place = Path(name)
        for step in (*reversed(place.parents), place):
            if (self.path / step).is_symlink():
                return f"{self.path / step} is a link"
        return ""

    def write(self, name: str, text: str) -> None:
        """Replace a text file that belongs to no settings; links are refused."""
        self.place([text_piece(name, text)], study="")

    def place(
        self, pieces: Sequence[Piece], *, study: str, instead: Sequence[str] = ()
    ) -> list[str]:
        """Place files, each at once: another process sees the old one or the new one.

        Args:
            pieces: The files.
            study: Digest of the settings that they are of; "": of none.
            instead: Folders of which nothing else stays that a run of some settings placed; "":
                the whole run folder. A file that was changed since stays.

        Returns:
            What a person should know: what had been changed, and was placed anew or left.

        Raises:
            InputError: If a link lies on the way.
            EnvironmentFault: If the folder can't be written.
        """
        notes: list[str] = []
        before = self._settled(notes)
        new: dict[str, PlacedFile] = {
            each.target: {**each.record, "of": each.of, "study": study} for each in pieces
        }
        self.refuse_links([*new, MANIFEST])
        old = {
            name: entry
            for name, entry in before.files.items()
            if name not in new and entry["study"] and _within(name, instead)
        }
        with disk_faults(f"the run folder {self.path}"):
            due = [piece for piece in pieces if self._differs(piece, before, notes)]
            self.path.mkdir(parents=True, exist_ok=True)  # deleted meanwhile: it is made again
            if due or old:
                self._write_manifest(replace(before, placing=new))
            for piece in due:
                _place(piece.content, self.path / piece.target)
            for name, entry in old.items():
                self._remove(name, entry, notes)
            kept = {name: entry for name, entry in before.files.items() if name not in old}
            after = Placed(study=study or before.study, files={**kept, **new})
            if due or old or after != before:
                self._write_manifest(after)
        return notes

    def _settled(self, notes: list[str]) -> Placed:
        """Return what was placed; of what a killed run was about to place, what came there."""
        try:
            before = self.placed()
        except DamagedArtefactError as error:
            notes.append(f"{error.what} ({error.why}): written anew, and nothing was removed")
            return Placed()
        came = {
            name: entry
            for name, entry in before.placing.items()
            if changed(self.path / name, entry) is None
        }
        return replace(before, files={**before.files, **came}, placing={})

    def _write_manifest(self, placed: Placed) -> None:
        replace_text(self.path / MANIFEST, sealed({"kind": "run", **asdict(placed)}))

    def _differs(self, piece: Piece, before: Placed, notes: list[str]) -> bool:
        """Whether a file isn't there yet as it shall be; say so if it was, and was changed."""
        target = self.path / piece.target
        if not os.path.lexists(target):
            return True
        if isinstance(piece.content, Path) and target.is_file() and target.samefile(piece.content):
            return False
        why = changed(target, piece.record)
        entry = before.files.get(piece.target)
        if why and entry is not None and changed(target, entry):
            notes.append(f"{target} had been changed since it was placed: placed anew")
        return bool(why)

    def _remove(self, name: str, entry: PlacedFile, notes: list[str]) -> None:
        """Remove what an earlier run placed, if it is still that."""
        path = self.path / name
        if not os.path.lexists(path):
            return
        if self._link_on_the_way(name) or changed(path, entry):
            notes.append(f"{path} was changed since it was placed: left as it is")
            return
        path.unlink()
        for folder in path.parents:
            if folder == self.path or any(folder.iterdir()):
                break
            folder.rmdir()


def _within(name: str, folders: Sequence[str]) -> bool:
    return any(not each or name.startswith(f"{each}/") for each in folders)


def _place(content: Path | str, target: Path) -> None:
    """Put a file into its place at once; another process sees the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        remove_empty(target)
        target.rmdir()
    if isinstance(content, str):
        replace_text(target, content)
        return
    fresh = unfinished(target)
    try:
        link_or_copy(content, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it: weights are large, texts may be edited."""
    if source.suffix in {".safetensors", ".bin"}:
        with suppress(OSError):
            os.link(source, target)
    if not target.exists():
        shutil.copyfile(source, target)
