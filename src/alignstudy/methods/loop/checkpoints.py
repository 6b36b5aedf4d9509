"""Checkpoints that survive a kill at any moment: sealed last, verified before use.

A checkpoint counts only if it holds `COMPLETE.json`, which is written after everything else is on
the disk, names every file with its size and sha256, and proves itself. Without it the saving was
cut short.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import DamagedArtefactError
from alignstudy.runtime.files import flush, replace_text
from alignstudy.runtime.recorded import differences, flushed
from alignstudy.runtime.sealed import read_sealed, sealed
from alignstudy.version import library_version

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
    record = {
        "digest": digest,
        "step": step,
        "num_tokens": num_tokens,
        "seconds": seconds,
        "versions": _versions(),
        "files": flushed(folder),
    }
    replace_text(folder / SEAL, sealed(record))
    flush(folder.parent)


def rotate(work: Path, *, keep: int = KEPT) -> None:
    """Delete all but the newest sealed checkpoints."""
    whole = [folder for _, folder in _numbered(work) if (folder / SEAL).is_file()]
    for folder in whole[keep:]:
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
        record, fault = _read(folder, step, digest)
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


def _read(folder: Path, step: int, digest: str) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """Return what a seal says, and why the checkpoint can't be used, with the suffix for that."""
    try:
        record = read_sealed(folder / SEAL, what="a seal", hint="")
    except DamagedArtefactError as error:
        return {}, ("damaged", f"{SEAL} is unreadable ({error.why})")
    return record, _fault(folder, step, record, digest)


def _fault(folder: Path, step: int, record: dict[str, Any], digest: str) -> tuple[str, str] | None:
    if record["digest"] != digest:
        return "other-job", "it belongs to other settings, data or weights"
    if record["versions"] != _versions():
        return "other-job", f"it was written by {record['versions']}"
    if record["step"] != step:
        return "damaged", f"it is that of step {record['step']}"
    names = [name for name, _ in differences(folder, record["files"], beside=frozenset({SEAL}))]
    return ("damaged", f"{', '.join(names)} changed since it was written") if names else None


def _versions() -> dict[str, str]:
    """Name the libraries that a resumed run must share with the one that saved."""
    return {
        name: library_version(name)
        for name in ("torch", "transformers", "trl", "peft", "accelerate")
    }
