"""Folders held against a record of what was written into them: every file's size and sha256."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from alignstudy.errors import EnvironmentFault
from alignstudy.runtime.files import entries, flush, make_usual, remove_empty
from alignstudy.runtime.sealed import is_damage
from alignstudy.sources import sha256_of


class FileRecord(TypedDict):
    """What a file was when it was written: bytes, and their hash in hexadecimal."""

    size: int
    sha256: str


def record_of(path: Path) -> FileRecord:
    """Return what a file is now."""
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}


def flushed(folder: Path) -> dict[str, FileRecord]:
    """Flush all files under a folder to the disk, with their usual modes; return what they are.

    Folders that hold no file are removed.
    """
    remove_empty(folder)
    found = {}
    for name, _ in entries(folder):
        make_usual(folder / name)
        flush(folder / name)
        found[name] = record_of(folder / name)
    return found


def differences(
    folder: Path, recorded: Mapping[str, FileRecord], *, beside: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Yield each name under a folder that isn't there as it was recorded, and why.

    Args:
        folder: Where the files should lie, and nothing else.
        recorded: By name.
        beside: Names of which nothing is asked.

    Raises:
        EnvironmentFault: If this user may not read something.
    """
    for name, record in recorded.items():
        if why := changed(folder / name, record):
            yield name, why
    for name in _listed(folder):
        if name not in recorded and name not in beside:
            yield name, "nobody wrote it"


def changed(path: Path, record: FileRecord) -> str | None:
    """Return what became of a recorded file; None if it is as it was.

    Raises:
        EnvironmentFault: If this user may not read it.
    """
    if not os.path.lexists(path):
        return "missing"
    if path.is_symlink() or not path.is_file():
        return "no plain file"
    try:
        if (size := path.stat().st_size) != record["size"]:
            return f"{size} bytes where {record['size']} were written"
        return None if sha256_of(path) == record["sha256"] else "its sha256 isn't the recorded one"
    except FileNotFoundError:  # another process set the folder aside meanwhile
        return "missing"
    except EnvironmentFault as error:
        if is_damage(error.__cause__) or isinstance(error.__cause__, FileNotFoundError):
            return error.why
        raise


def _listed(folder: Path) -> Iterator[str]:
    try:
        yield from (name for name, _ in entries(folder))
    except (FileNotFoundError, NotADirectoryError):
        return  # set aside meanwhile by another process: all is missing
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(path: Path, error: OSError) -> EnvironmentFault:
    """Return the error of something that is there, and that this user may not read."""
    return EnvironmentFault(
        f"{path} can't be read",
        why=error.strerror or str(error),
        hint="check its permissions: all who share a store must be able to read it",
    )
