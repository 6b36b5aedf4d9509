"""Content-addressed artefacts: each is complete and verified, or absent.

An artefact is a folder `<home>/store/<kind>/<key>`. It is written next to its place, flushed, its
manifest (size and sha256 of every file) written last, and renamed. A manifest that verifies is
the only meaning of "done". A damaged artefact is renamed and recomputed.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import DamagedArtefactError, EnvironmentFault
from alignstudy.sources import home_path, sha256_of

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A finished stage's folder and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What the runner noted when the stage ran: seconds, when, on what."""
        return dict(self.manifest["facts"])


def home() -> Path:
    """Return the folder of the store: `$ALIGNSTUDY_HOME`, else in the user's cache folder."""
    given = os.environ.get("ALIGNSTUDY_HOME")
    if given:
        return home_path(given).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "alignstudy"


class Store:
    """The artefacts under one home folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or home()

    def folder(self, kind: str, key: str) -> Path:
        """Return the place of an artefact, whether or not it is there."""
        return self.root / "store" / kind / key

    def work_folder(self, key: str) -> Path:
        """Return the folder where a stage keeps checkpoints until it is done."""
        return self.root / "work" / key

    def peek(self, kind: str, key: str) -> Artefact | None:
        """Find an artefact by its manifest, its files not hashed: enough to plan with."""
        folder = self.folder(kind, key)
        if not (folder / MANIFEST).is_file():
            return None
        try:
            return Artefact(folder=folder, manifest=_read_manifest(folder))
        except DamagedArtefactError:
            return None

    def find(self, kind: str, key: str) -> Artefact | None:
        """Find an artefact and verify every file of it; None if there is none.

        Raises:
            DamagedArtefactError: If a file isn't what was written; the folder has been renamed.
        """
        folder = self.folder(kind, key)
        if not folder.exists():
            return None
        try:
            manifest = _read_manifest(folder)
            verify(folder, manifest)
        except DamagedArtefactError as error:
            renamed = folder.with_name(f"{key}.damaged-{uuid.uuid4().hex[:8]}")
            folder.rename(renamed)
            error.kept = f"the damaged folder, as {renamed}"
            raise
        return Artefact(folder=folder, manifest=manifest)

    def made_with(self, kind: str, name: str, value: object) -> list[dict[str, Any]]:
        """Return all inputs of every artefact of a kind that was made with a value of one."""
        found = []
        for place in sorted((self.root / "store" / kind).glob(f"*/{MANIFEST}")):
            artefact = self.peek(kind, place.parent.name)
            if artefact is None or artefact.manifest["key"] != place.parent.name:
                continue  # a damaged one that was moved away
            if artefact.manifest["ingredients"].get(name) == value:
                found.append(artefact.manifest["ingredients"])
        return found

    @contextmanager
    def writing(self, kind: str, key: str) -> Iterator[Path]:
        """Return an empty folder to fill; it is thrown away if the block fails."""
        place = self.folder(kind, key)
        with disk_faults(f"the store at {self.root}"):
            place.parent.mkdir(parents=True, exist_ok=True)
            for left in place.parent.glob(f"{key}.tmp-*"):  # by a killed writer: its lock is ours
                shutil.rmtree(left, ignore_errors=True)
            fresh = place.with_name(f"{key}.tmp-{uuid.uuid4().hex[:8]}")
            fresh.mkdir()
        try:
            yield fresh
        finally:
            if fresh.exists():
                shutil.rmtree(fresh, ignore_errors=True)

    def commit(
        self,
        fresh: Path,
        kind: str,
        key: str,
        *,
        fingerprint_inputs: dict[str, Any],
        facts: dict[str, Any],
    ) -> Artefact:
        """Flush a filled folder, write its manifest, and rename it to its place."""
        place, files = self.folder(kind, key), {}
        for name in _file_names(fresh):
            path = fresh / name
            with disk_faults(str(path)), path.open("rb") as stream:
                os.fsync(stream.fileno())
            files[name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
        manifest = {
            "manifest_version": MANIFEST_VERSION,
            "kind": kind,
            "key": key,
            "ingredients": fingerprint_inputs,
            "facts": facts,
            "files": files,
        }
        with disk_faults(f"the store at {self.root}"):
            write_text(fresh / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))
            fsync_folder(fresh)
            fresh.rename(place)
            fsync_folder(place.parent)
        shutil.rmtree(self.work_folder(key), ignore_errors=True)
        return Artefact(folder=place, manifest=manifest)


def _read_manifest(folder: Path) -> dict[str, Any]:
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


def verify(folder: Path, manifest: dict[str, Any]) -> None:
    """Check that a folder holds just the files of its manifest, byte for byte.

    Raises:
        DamagedArtefactError: Naming the first file that differs.
    """
    recorded: dict[str, dict[str, Any]] = manifest["files"]
    present = set(_file_names(folder)) - {MANIFEST}
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


def _file_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def write_text(path: Path, text: str) -> None:
    """Write a text file and flush it to the disk."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def replace_text(path: Path, text: str) -> None:
    """Replace a text file whole: a reader sees the old one or the new one."""
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        write_text(fresh, text)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries, without which a rename may not outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_faults(where: str) -> Iterator[None]:
    """Turn the disk's own errors into one that says what to do.

    Raises:
        EnvironmentFault: Where the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{where} can't be written",
            why=f"{error.strerror or error} ({error.filename or where})",
            hint="free or change the disk, or name a writable folder (--out, ALIGNSTUDY_HOME)",
            kept="every finished stage",
        ) from error
