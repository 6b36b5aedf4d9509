"""An artefact's manifest: every file by size and sha256, and which of them were dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import DamagedArtefactError, EnvironmentFault
from alignstudy.runtime.recorded import differences, unreadable
from alignstudy.runtime.sealed import read_sealed

MANIFEST = "manifest.json"
MANIFEST_VERSION = 3


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

    def differences(self) -> Iterator[tuple[str, str]]:
        """Yield each name in its folder that isn't as the manifest says, and why."""
        dropped = self.dropped
        files = self.manifest["files"].items()
        recorded = {name: entry for name, entry in files if name not in dropped}
        yield from differences(self.folder, recorded, beside=frozenset({MANIFEST, *dropped}))

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
    """Read an artefact's manifest, and hold it against its own hash and against its place.

    Raises:
        DamagedArtefactError: If there is none, it isn't what was written, or it belongs elsewhere.
        EnvironmentFault: If a newer alignstudy wrote it, or this user may not read it.
    """
    path, again = folder / MANIFEST, "run the same command again: what it names is made anew"
    try:
        if folder.is_symlink() or path.is_symlink():
            raise DamagedArtefactError(f"{path} lies behind a link", hint=again)
        manifest = read_sealed(path, what="a manifest", hint=again)
    except FileNotFoundError as error:
        raise DamagedArtefactError(f"{path} is missing", hint=again) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if manifest.get("manifest_version", 0) > MANIFEST_VERSION:
        raise EnvironmentFault(
            f"{path} was written by a newer alignstudy",
            why=f"manifest version {manifest['manifest_version']}; this one knows"
            f" {MANIFEST_VERSION}",
            hint="use the newer version, or another ALIGNSTUDY_HOME",
        )
    place = [folder.parent.name, folder.name]
    if (found := [manifest["kind"], manifest["key"]]) != place:
        raise DamagedArtefactError(
            f"{path} belongs elsewhere", why=f"it is that of {'/'.join(found)}", hint=again
        )
    return manifest


def verify(artefact: Artefact) -> None:
    """Check that a folder holds just the files of its manifest, byte for byte.

    Of a file that was dropped nothing is asked: who dropped it may have been killed before.

    Raises:
        DamagedArtefactError: Naming the first file that differs.
        EnvironmentFault: If this user may not read a file.
    """
    for name, why in artefact.differences():
        raise DamagedArtefactError(
            f"{artefact.folder / name} is damaged",
            why=why,
            hint="run the same command again: it is recomputed",
        )


def hashes_of(files: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of a manifest's files, by name."""
    return {name: entry["sha256"] for name, entry in files.items()}
