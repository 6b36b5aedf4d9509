"""An artefact's manifest: every file by size and sha256, and which of them were dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import DamagedArtefactError, EnvironmentFault
from alignstudy.sources import sha256_of

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A finished stage's folder and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What the runner noted when the stage ran: seconds, when, on what."""
        return dict(self.manifest["facts"])

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of every file, dropped ones too, by name."""
        return hashes_of(self.manifest["files"])

    @property
    def dropped(self) -> dict[str, str]:
        """The sha256 of every file that was dropped to free the disk, by name."""
        files = self.manifest["files"].items()
        return hashes_of({name: entry for name, entry in files if entry.get("dropped")})

    @property
    def is_whole(self) -> bool:
        """Whether no file was dropped."""
        return not self.dropped

    @property
    def is_gone(self) -> bool:
        """Whether all files were dropped: what is left says only what it was."""
        return bool(self.dropped) and len(self.dropped) == len(self.manifest["files"])

    def without(self, *, weights_only: bool) -> dict[str, Any]:
        """Return the manifest with its weights, or all files, marked as dropped."""
        weights = self.manifest.get("weights", ())
        files = {
            name: {**entry, "dropped": True} if name in weights or not weights_only else entry
            for name, entry in self.manifest["files"].items()
        }
        return {**self.manifest, "manifest_version": MANIFEST_VERSION, "files": files}

    def with_all(self) -> dict[str, Any]:
        """Return the manifest with no file marked as dropped."""
        files = {
            name: {key: value for key, value in entry.items() if key != "dropped"}
            for name, entry in self.manifest["files"].items()
        }
        return {**self.manifest, "files": files}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read an artefact's manifest.

    Raises:
        DamagedArtefactError: If there is none, or it is no manifest.
        EnvironmentFault: If a newer alignstudy wrote it.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = int(manifest["manifest_version"])
        for name in ("files", "facts", "ingredients"):
            if not isinstance(manifest[name], dict):
                raise TypeError(f"'{name}' is no object")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedArtefactError(
            f"{path} is not a manifest", why=str(error), hint="run the same command again"
        ) from error
    if version > MANIFEST_VERSION:
        raise EnvironmentFault(
            f"{path} was written by a newer alignstudy",
            why=f"manifest version {version}; this one knows {MANIFEST_VERSION}",
            hint="use the newer version, or another ALIGNSTUDY_HOME",
        )
    return dict(manifest)


def verify(artefact: Artefact) -> None:
    """Check that a folder holds just the files of its manifest, byte for byte.

    Of a file that was dropped nothing is asked: who dropped it may have been killed before.

    Raises:
        DamagedArtefactError: Naming the first file that differs.
    """
    folder, dropped = artefact.folder, set(artefact.dropped)
    files = artefact.manifest["files"]
    recorded = {name: entry for name, entry in files.items() if name not in dropped}
    present = set(file_names(folder)) - {MANIFEST} - dropped
    odd = sorted(present ^ set(recorded))
    if odd:
        state = "missing" if odd[0] in recorded else "not in the manifest"
        raise _damaged(folder / odd[0], state)
    for name, entry in recorded.items():
        path = folder / name
        if path.stat().st_size != entry["size"]:
            raise _damaged(path, f"{path.stat().st_size} bytes where {entry['size']} were written")
        if sha256_of(path) != entry["sha256"]:
            raise _damaged(path, "its sha256 is not the recorded one")


def _damaged(path: Path, why: str) -> DamagedArtefactError:
    return DamagedArtefactError(
        f"{path} is damaged", why=why, hint="run the same command again: it is recomputed"
    )


def file_names(folder: Path) -> list[str]:
    """List the files under a folder, relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def hashes_of(files: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the sha256 of a manifest's files, by name."""
    return {name: entry["sha256"] for name, entry in files.items()}
