"""Content-addressed artefacts: each is complete and verified, or absent.

An artefact is a folder `<home>/store/<kind>/<key>`. It is written next to its place, flushed, its
manifest (size and sha256 of every file, and a hash over itself) written last, and renamed. A
manifest that verifies, and lies where it says, is the only meaning of "done". A damaged artefact
is renamed and recomputed.

To free the disk, a finished artefact's weights can be dropped, or all of its files: its manifest
stays and says so. Made again, weights of the same hash take their places beside the other files.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alignstudy.errors import DamagedArtefactError, EnvironmentFault
from alignstudy.runtime.files import flush, write_text
from alignstudy.runtime.recorded import flushed
from alignstudy.runtime.sealed import sealed
from alignstudy.sources import home_path
from alignstudy.study.run.manifest import (
    MANIFEST,
    MANIFEST_VERSION,
    Artefact,
    hashes_of,
    read_manifest,
    verify,
)


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

    def lock(self, key: str) -> FileLock:
        """Return the lock that whoever makes or drops an artefact holds."""
        path = self.root / "locks" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def record(self, kind: str, key: str) -> Artefact | None:
        """Read what an artefact is or was: its files aren't hashed, and may all be dropped.

        One whose manifest is damaged isn't there: whoever makes it finds that, and says so.

        Raises:
            EnvironmentFault: If a newer alignstudy wrote it, or this user may not read it.
        """
        folder = self.folder(kind, key)
        if not (folder / MANIFEST).is_file():
            return None
        try:
            return Artefact(folder=folder, manifest=read_manifest(folder))
        except DamagedArtefactError:
            return None

    def peek(self, kind: str, key: str) -> Artefact | None:
        """Find an artefact by its manifest, its files not hashed: enough to plan with."""
        found = self.record(kind, key)
        return None if found is None or found.is_gone else found

    def find(self, kind: str, key: str) -> Artefact | None:
        """Find an artefact and verify every file of it that wasn't dropped; None if there is none.

        Raises:
            DamagedArtefactError: If a file isn't what was written; the folder has been renamed.
        """
        folder = self.folder(kind, key)
        if not os.path.lexists(folder):
            return None
        try:
            found = Artefact(folder=folder, manifest=read_manifest(folder))
            verify(found)
        except DamagedArtefactError as error:
            renamed = folder.with_name(f"{key}.damaged-{uuid.uuid4().hex[:8]}")
            with disk_faults(f"the store at {self.root}"), suppress(FileNotFoundError):
                folder.rename(renamed)
            error.kept = f"the damaged folder, as {renamed}"
            raise
        return None if found.is_gone else found

    def made_with(self, kind: str, name: str, value: object) -> list[dict[str, Any]]:
        """Return all inputs of every artefact of a kind that was made with a value of one."""
        known = (made.manifest["ingredients"] for made in self.records(kind))
        return [ingredients for ingredients in known if ingredients.get(name) == value]

    def records(self, kind: str = "*", key: str = "*") -> Iterator[Artefact]:
        """Yield what is recorded of every artefact of a kind or a key; what can't be read isn't.

        A study rests on its own artefacts only: damage to another's is not its concern.
        """
        for place in sorted((self.root / "store").glob(f"{kind}/{key}/{MANIFEST}")):
            with suppress(EnvironmentFault):
                found = self.record(place.parent.parent.name, place.parent.name)
                if found is not None:
                    yield found

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
        weights: tuple[str, ...] = (),
    ) -> Artefact:
        """Flush a filled folder, write its manifest, and bring it to its place.

        Where an artefact lies whose weights were dropped, and these are the same, they join it.

        Args:
            fresh: The folder.
            kind: Of the stage.
            key: Of the stage.
            fingerprint_inputs: Of the stage.
            facts: Worth keeping.
            weights: Patterns of the names of its weight files.
        """
        place = self.folder(kind, key)
        with disk_faults(str(fresh)):
            files = flushed(fresh)
        manifest = {
            "manifest_version": MANIFEST_VERSION,
            "kind": kind,
            "key": key,
            "ingredients": fingerprint_inputs,
            "facts": facts,
            "files": files,
            "weights": [name for name in files if any(fnmatch(name, each) for each in weights)],
        }
        before = self.peek(kind, key)
        with disk_faults(f"the store at {self.root}"):
            if before is not None and before.dropped.items() <= hashes_of(files).items():
                manifest = before.with_all()
                for name in before.dropped:
                    (fresh / name).replace(place / name)
                _replace_manifest(place, manifest, by_way_of=fresh)
            else:
                _write_manifest(fresh, manifest)
                if os.path.lexists(place):
                    place.rename(place.with_name(f"{key}.tmp-{uuid.uuid4().hex[:8]}"))
                fresh.rename(place)
            flush(place.parent)
        for left in (self.work_folder(key), *place.parent.glob(f"{key}.tmp-*")):
            shutil.rmtree(left, ignore_errors=True)
        return Artefact(folder=place, manifest=manifest)

    def sweep(self) -> None:
        """Remove what killed processes left: half-written artefacts, checkpoints of whole ones.

        What a run at work writes stays, and so does what a stage that isn't done can go on from.
        """
        left = [*(self.root / "store").glob("*/*.tmp-*")]
        for work in (self.root / "work").glob("*"):
            left += [work for made in self.records(key=work.name) if made.is_whole]
        with disk_faults(f"the store at {self.root}"):
            for path in left:
                key = path.name.partition(".")[0]
                with suppress(Timeout), self.lock(key).acquire(timeout=0):
                    shutil.rmtree(path, ignore_errors=True)

    def drop_weights(self, kind: str, key: str) -> int | None:
        """Drop a finished artefact's weights; what else it holds can still be read.

        Whoever needs them finds the artefact unfinished, and makes them again. Who may: see
        `KnownRuns`, which knows what needs them.

        Returns:
            The bytes that are free now; None if a run holds the artefact.
        """
        return self._drop(kind, key, weights_only=True)

    def drop(self, kind: str, key: str) -> int | None:
        """Drop an artefact; only its manifest stays: when, how and how long it was made.

        Returns:
            The bytes that are free now; None if a run holds the artefact.
        """
        return self._drop(kind, key, weights_only=False)

    def _drop(self, kind: str, key: str, *, weights_only: bool) -> int | None:
        """Replace the manifest first: who is killed then leaves files that count as dropped."""
        with disk_faults(f"the store at {self.root}"):
            try:
                with self.lock(key).acquire(timeout=0):
                    found = self.record(kind, key)
                    if found is None:
                        return 0
                    found = Artefact(
                        folder=found.folder, manifest=found.without(weights_only=weights_only)
                    )
                    with self.writing(kind, key) as fresh:
                        _replace_manifest(found.folder, found.manifest, by_way_of=fresh)
                    paths = [found.folder / name for name in found.dropped]
                    freed = sum(size_on_disk(path) for path in paths)
                    for path in paths:
                        path.unlink(missing_ok=True)
                    return freed
            except Timeout:
                return None


def size_on_disk(path: Path) -> int:
    """Return the bytes that are free once a file is removed: none if it has another name, too."""
    if not path.is_file():
        return 0
    status = path.stat()
    return status.st_size if status.st_nlink == 1 else 0


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_text(folder / MANIFEST, sealed(manifest))
    flush(folder)


def _replace_manifest(place: Path, manifest: dict[str, Any], *, by_way_of: Path) -> None:
    """Replace a manifest whole; its new text is never a file of the artefact."""
    _write_manifest(by_way_of, manifest)
    (by_way_of / MANIFEST).replace(place / MANIFEST)
    flush(place)


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
