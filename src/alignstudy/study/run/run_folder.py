"""The run folder: what people read; everything in it is copied or linked from the store."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alignstudy.errors import InputError, LockHeldError
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.manifest import Artefact
from alignstudy.study.run.store import disk_faults, replace_text

PROVENANCE = "provenance.json"
_LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class Export:
    """One thing that a run folder shows.

    Attributes:
        stage: Whose artefact it comes from.
        source: File or folder in the artefact; "" is the whole artefact.
        target: Where it goes in the run folder.
    """

    stage: Stage
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A folder `runs/<study>`."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            LockHeldError: If another process holds it.
            EnvironmentFault: If the folder can't be written.
            InputError: If it is a file, or a folder that holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out {self.path} is a file", hint="name a folder")
        ours = {PROVENANCE, _LOCK}
        names = {item.name for item in self.path.iterdir()} if self.path.is_dir() else set()
        if names and not names & ours:
            raise InputError(
                f"{self.path} is not an alignstudy run",
                why=f"it holds other files ({sorted(names)[0]}, ...)",
                hint="name a new or empty folder with --out",
                kept="its files; nothing was written",
            )
        with disk_faults(f"the run folder {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise LockHeldError(
                    f"another process works on {self.path}",
                    why=f"it holds {self.path / _LOCK}",
                    hint="wait for it to end, or give this run another folder with --out",
                    kept="everything; this process wrote nothing",
                ) from None
        try:
            yield
        finally:
            lock.release()

    def provenance(self) -> dict[str, Any]:
        """Return the last run's record; empty if there was none that can be read."""
        try:
            record = json.loads((self.path / PROVENANCE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def last_keys(self) -> Mapping[str, str]:
        """Return stage name -> key, as the last runs in this folder left them."""
        lines = self.provenance().get("stages", [])
        return {line["stage"]: line["key"] for line in lines if {"stage", "key"} <= line.keys()}

    def write(self, name: str, text: str) -> None:
        """Replace a text file whole."""
        with disk_faults(f"the run folder {self.path}"):
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_text(target, text)

    def show(self, export: Export, artefact: Artefact) -> None:
        """Show a part of an artefact under its name in the run folder."""
        with disk_faults(f"the run folder {self.path}"):
            source = artefact.folder / export.source
            target = self.path / export.target
            if source.is_file():
                _place(source, target)
                return
            prefix = f"{export.source}/" if export.source else ""
            files = [name for name in artefact.manifest["files"] if name.startswith(prefix)]
            inner = {name.removeprefix(prefix) for name in files}
            for name in inner:
                _place(source / name, target / name)
            for path in sorted(target.rglob("*"), reverse=True):  # what an earlier run showed
                if path.is_file() and path.relative_to(target).as_posix() not in inner:
                    path.unlink()
                elif path.is_dir() and not any(path.iterdir()):
                    path.rmdir()


def _place(source: Path, target: Path) -> None:
    """Put a file into its place at once; another process sees the old one or the new one."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        link_or_copy(source, fresh)
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
