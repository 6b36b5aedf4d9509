"""Files that outlive a kill or a power cut: written whole, or not at all."""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

_UNFINISHED = re.compile(r"\..+\.alignstudy-[0-9a-f]{8}")
"""Names of files that are being written beside their places."""


def unfinished(path: Path) -> Path:
    """Return a fresh name beside a path, by which `sweep` knows what a kill left."""
    return path.with_name(f".{path.name}.alignstudy-{uuid.uuid4().hex[:8]}")


def write_text(path: Path, text: str) -> None:
    """Write a text file and flush it to the disk."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def replace_text(path: Path, text: str) -> None:
    """Replace a text file whole: a reader sees the old one or the new one."""
    fresh = unfinished(path)
    try:
        write_text(fresh, text)
        fresh.replace(path)
        flush(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file's content, or a folder's entries: a rename may not outlive a power cut else."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in a folder and the folders below it."""
    for base, _, names in os.walk(folder):
        for name in names:
            if _UNFINISHED.fullmatch(name):
                Path(base, name).unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove the folders below a folder that hold nothing but empty ones."""
    for base, _, _ in os.walk(folder, topdown=False):
        if Path(base) != folder and is_empty(Path(base)):
            Path(base).rmdir()


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing."""
    with os.scandir(folder) as found:
        return next(found, None) is None


def entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that lies under a folder but its folders: name relative to it, and entry.

    Links are entries, wherever they lead; an empty folder is one, too. The order is that of names.

    Raises:
        OSError: If a folder can't be read.
    """
    waiting = [(folder, "")]
    while waiting:
        place, prefix = waiting.pop()
        with os.scandir(place) as found:
            inside = sorted(found, key=lambda entry: entry.name)
        for entry in inside:
            if not entry.is_dir(follow_symlinks=False):
                yield prefix + entry.name, entry
            elif not is_empty(Path(entry)):
                waiting.append((place / entry.name, f"{prefix}{entry.name}/"))
            else:
                yield f"{prefix}{entry.name}/", entry


def usual_mode() -> int:
    """Return the mode that a new file has by the user's umask."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def make_usual(path: Path) -> None:
    """Give a file of our own the usual mode: some libraries write files for their user only."""
    if stat.S_IMODE(path.stat().st_mode) != (usual := usual_mode()):
        path.chmod(usual)
