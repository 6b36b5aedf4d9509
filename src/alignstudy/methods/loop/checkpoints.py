"""Checkpoints that survive a kill at any moment: sealed last, verified before use.

A checkpoint counts only if it holds `COMPLETE.json`, which is written after everything else is on
the disk and names every file with its size and sha256. Without it the saving was cut short.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from alignstudy.sources import sha256_of

SEAL = "COMPLETE.json"
KEPT = 2
"""How many sealed checkpoints are kept: if the newest is damaged, there is one before it."""

_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
        step: Optimizer steps that were done.
        num_tokens: Tokens that were read up to then.
        seconds: Wall-clock time that was spent in training up to then.
    """

    folder: Path
    step: int
    num_tokens: int
    seconds: float


def seal(folder: Path, *, digest: str, step: int, num_tokens: int, seconds: float) -> None:
    """Flush a freshly written checkpoint to the disk and declare it complete."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        _flush(path)
    record = {
        "digest": digest,
        "step": step,
        "num_tokens": num_tokens,
        "seconds": seconds,
        "versions": _versions(),
        "files": {
            str(path.relative_to(folder)): [path.stat().st_size, sha256_of(path)] for path in files
        },
    }
    unfinished = folder / f"{SEAL}.tmp"
    unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
    _flush(unfinished)
    unfinished.replace(folder / SEAL)
    _flush(folder)
    _flush(folder.parent)


def rotate(work: Path, *, keep: int = KEPT) -> None:
    """Delete all but the newest sealed checkpoints."""
    sealed = [folder for _, folder in _numbered(work) if (folder / SEAL).is_file()]
    for folder in sealed[keep:]:
        (folder / SEAL).unlink()
        shutil.rmtree(folder)


def newest_verified(work: Path, *, digest: str) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """Find the checkpoint to go on from, and what was wrong with newer ones.

    A checkpoint whose saving was cut short is deleted; a damaged one is renamed (`.damaged`), one
    of another job likewise (`.other-job`), and the one before it is tried.
    """
    notes: list[str] = []
    for step, folder in _numbered(work):
        if not (folder / SEAL).is_file():
            shutil.rmtree(folder)
            continue
        try:
            record = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        except ValueError:
            record = None
        fault = _fault(folder, record, digest)
        if fault is None:
            found = Checkpoint(
                folder=folder,
                step=step,
                num_tokens=record["num_tokens"],
                seconds=record["seconds"],
            )
            return found, tuple(notes)
        suffix, words = fault
        target = folder.with_name(f"{folder.name}.{suffix}")
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
        notes.append(f"checkpoint of step {step} not used: {words}")
    return None, tuple(notes)


def newest_step(work: Path) -> int | None:
    """Return the step of the newest sealed checkpoint; None if there is none."""
    return next((step for step, path in _numbered(work) if (path / SEAL).is_file()), None)


def _numbered(work: Path) -> list[tuple[int, Path]]:
    """List checkpoint folders with their steps, the newest first."""
    found = []
    for path in work.iterdir() if work.is_dir() else ():
        mark = _NAME.fullmatch(path.name)
        if mark and path.is_dir():
            found.append((int(mark[1]), path))
    return sorted(found, reverse=True)


def _fault(folder: Path, record: object, digest: str) -> tuple[str, str] | None:
    """Return why a sealed checkpoint can't be used, with the suffix that it is set aside under."""
    needed = {"digest", "versions", "files", "num_tokens", "seconds"}
    if not isinstance(record, dict) or not needed <= set(record):
        return "damaged", f"{SEAL} is unreadable"
    if record["digest"] != digest:
        return "other-job", "it belongs to other settings, data or weights"
    if record["versions"] != _versions():
        return "other-job", f"it was written by {record['versions']}"
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    changed = present ^ {SEAL, *record["files"]}
    for name, (size, sha256) in record["files"].items():
        path = folder / name
        if name in present and (path.stat().st_size != size or sha256_of(path) != sha256):
            changed.add(name)
    damaged = sorted(changed)
    if damaged:
        return "damaged", f"{', '.join(damaged)} changed since it was written"
    return None


def _versions() -> dict[str, str]:
    """Name the libraries that a resumed run must share with the one that saved."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")}


def _flush(path: Path) -> None:
    """Make the system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
