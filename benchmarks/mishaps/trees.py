"""Folders as they were and as they are: copied with their links, and compared by what they say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

MEASURED = {
    "beside", "cpu_seconds", "device_memory", "ended", "executed", "flops", "notes", "peak_memory",
    "processed_tokens", "reused", "resumed",
    "seconds", "sha256", "size", "started", "texts", "tokens", "work",
}  # fmt: skip
"""Keys of what depends on the clock, or on how often a run was cut short; and files' own hashes."""

RECORDS = {"manifest.json", "provenance.json", "report.json", "result.json"}
"""JSON files that hold such keys; of all others every byte counts."""

OURS = "not-of-a-run"
"""In the names of what is put where it doesn't belong."""

_TRAINING = re.compile(
    r"<section id=\"training\".*|^## What (?:training did|it took)$.*?(?=^## |\Z)", re.M | re.S
)
"""Parts of a report that say how long things took, and what went on from a checkpoint."""

_TEMPORARY = re.compile(r"\.tmp|/\.[^/]+[.-][0-9a-f]{8}$")
_COMPANIONS = ("-wal", "-shm", "-journal")
_SET_ASIDE = re.compile(r"\.damaged\b|\.other-job\b")


def copy(source: Path, target: Path) -> None:
    """Copy a folder; names of one file stay names of one file."""
    names: dict[int, Path] = {}
    target.mkdir(parents=True)
    for folder, _, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(exist_ok=True)
        for name in files:
            path, fresh = Path(folder, name), place / name
            number = path.lstat().st_ino
            if number in names:
                os.link(names[number], fresh)
            else:
                shutil.copy2(path, fresh, follow_symlinks=False)
                names[number] = fresh


def replace(target: Path, source: Path | None) -> None:
    """Put a copy of a folder in another's place; None: nothing."""
    shutil.rmtree(target, ignore_errors=True)
    if source is not None:
        copy(source, target)


def files_of(folder: Path) -> list[str]:
    """List the files under a folder, without what SQLite keeps beside a database."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and not path.name.endswith(_COMPANIONS)
    )


def contents(folder: Path) -> dict[str, str]:
    """Return of every file under a folder a digest of what it says, by name."""
    return {name: _digest(folder / name) for name in files_of(folder)}


def differences(
    golden: dict[str, str], found: dict[str, str], *, damaged: bool, kept: str = ""
) -> Iterator[str]:
    """Say in what a folder differs from how it should be.

    Args:
        golden: As `contents` gave it.
        found: Likewise.
        damaged: Whether something was damaged: it may have been set aside, a file of values that
            are kept to save time may hold fewer, and a lock that nobody holds may be missing.
        kept: What isn't ours, and must be kept.
    """
    if kept and kept not in found:
        yield f"{kept} was deleted"
    spared = (".sqlite", ".lock") if damaged else ()
    for name in sorted(golden.keys() | found.keys()):
        if name not in found:
            if not name.endswith(spared):
                yield f"{name} is missing"
        elif name not in golden:
            if not (damaged and (_SET_ASIDE.search(name) or OURS in name)):
                yield f"{name} was left over" if _TEMPORARY.search(name) else f"{name} is new"
        elif found[name] != golden[name] and not name.endswith(spared):
            yield f"{name} differs"


def _digest(path: Path) -> str:
    if not path.is_file():
        return "not a file"
    if path.suffix == ".sqlite":
        return _hash(repr(_rows(path)))
    if path.name in RECORDS:
        with suppress(ValueError):  # a damaged one is told by its bytes
            return _hash(json.dumps(_lasting(json.loads(path.read_bytes())), sort_keys=True))
    if path.name in ("report.html", "report.md"):
        return _hash(_TRAINING.sub("", path.read_text(encoding="utf-8", errors="replace")))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lasting(value: Any) -> Any:
    """Return JSON without what was measured."""
    if isinstance(value, dict):
        return {key: _lasting(each) for key, each in value.items() if key not in MEASURED}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def _rows(path: Path) -> list[Any]:
    """Read a database's rows, and leave nothing beside it; what isn't one has none."""
    with tempfile.TemporaryDirectory() as apart:
        copied = Path(apart) / path.name
        for each in (path, *(path.with_name(path.name + end) for end in _COMPANIONS)):
            if each.is_file():
                shutil.copyfile(each, copied.with_name(each.name))
        try:
            with closing(sqlite3.connect(copied)) as base:
                return sorted(base.execute("SELECT key, value FROM kept"))
        except (sqlite3.DatabaseError, TypeError):
            return []
