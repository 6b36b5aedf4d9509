"""What lies in the store, and which of the known runs need it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from alignstudy.study.run.known_runs import KnownRun, KnownRuns
from alignstudy.study.run.manifest import MANIFEST, Artefact
from alignstudy.study.run.store import Store, disk_faults, size_on_disk

What = Literal["artefact", "weights", "checkpoints", "leftover", "record"]
DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One thing in the store.

    Attributes:
        what: "artefact": a finished stage. "weights": those of one whose study no longer needs
            them. "checkpoints": of a stage that was stopped. "leftover": of a killed process, or a
            damaged artefact that was set aside. "record": the manifest of what was freed.
        kind: Of the stage, where that is known.
        name: Of the stage in the study that made it; of a leftover, of its folder.
        path: Its folder.
        key: Of the stage.
        size: Bytes.
        frees: Bytes that are free once it is gone: none of a file that a run folder shows, too.
        seconds: What making it took; 0 where that isn't known.
        age: Days since it was last changed.
        runs: Folders of the known runs that need it.
    """

    what: What
    kind: str
    name: str
    path: Path
    key: str
    size: int
    frees: int
    seconds: float = 0.0
    age: float = 0.0
    runs: tuple[Path | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        runs = [str(run) for run in self.runs if run is not None]
        return {**asdict(self), "path": str(self.path), "runs": runs}


@dataclass(frozen=True, kw_only=True)
class Stock:
    """All that lies in a store.

    Attributes:
        runs: That are known, gone ones too.
        pieces: Each thing once; an artefact's weights are part of it.
        caches: Bytes of files that studies share, by what they hold.
    """

    root: Path
    runs: tuple[KnownRun, ...]
    pieces: tuple[Piece, ...]
    caches: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return sum(piece.size for piece in self.pieces) + sum(self.caches.values())

    @property
    def unneeded(self) -> tuple[Piece, ...]:
        """What no known run needs."""
        return tuple(each for each in self.pieces if not each.runs and each.what != "record")

    def by_kind(self) -> list[tuple[str, int, int, int]]:
        """Return kind, number, bytes, and how many of these no known run needs; largest first."""
        found: dict[str, list[Piece]] = {}
        for piece in self.pieces:
            named = piece.kind if piece.what == "artefact" else piece.what
            found.setdefault(named, []).append(piece)
        unneeded = set(self.unneeded)
        rows = [
            (
                kind,
                len(pieces),
                sum(each.size for each in pieces),
                sum(each.size for each in pieces if each in unneeded),
            )
            for kind, pieces in found.items()
        ]
        return sorted(rows, key=lambda row: (-row[2], row[0]))

    def by_run(self) -> list[tuple[KnownRun, int, int]]:
        """Return every known run, the bytes that it needs, and those that only it needs."""
        rows = []
        for run in (each for each in self.runs if each.folder is not None):
            mine = [piece for piece in self.pieces if run.folder in piece.runs]
            alone = sum(piece.size for piece in mine if len(piece.runs) == 1)
            rows.append((run, sum(piece.size for piece in mine), alone))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts; all sizes in bytes."""
        kinds = [
            {"kind": kind, "number": number, "size": size, "unneeded": unneeded}
            for kind, number, size, unneeded in self.by_kind()
        ]
        runs = [
            {
                "folder": str(run.folder),
                "state": run.state,
                "size": size,
                "only_here": alone,
            }
            for run, size, alone in self.by_run()
        ]
        return {
            "store": str(self.root),
            "size": self.size,
            "unneeded": sum(piece.size for piece in self.unneeded),
            "kinds": kinds,
            "runs": runs,
            "caches": self.caches,
        }


def take_stock(store: Store) -> Stock:
    """Look at everything in a store; files aren't hashed, nothing is changed.

    Raises:
        DamagedArtefactError: If what a run needs can't be read.
        EnvironmentFault: If something can't be read, or a newer alignstudy wrote it.
    """
    runs = tuple(KnownRuns(store).all())
    with disk_faults(f"the store at {store.root}"):
        works = [path for path in sorted((store.root / "work").glob("*")) if path.is_dir()]
        pieces = [*_artefacts(store, runs), *(_piece("checkpoints", it, runs) for it in works)]
        caches = {
            name: sum(path.stat().st_size for path in (store.root / name).glob(f"{name}.sqlite*"))
            for name in ("scores", "references")
        }
    return Stock(root=store.root, runs=runs, pieces=tuple(pieces), caches=caches)


def _artefacts(store: Store, runs: Sequence[KnownRun]) -> Iterator[Piece]:
    for folder in sorted((store.root / "store").glob("*/*")):
        kind, (key, _, beside) = folder.parent.name, folder.name.partition(".")
        if not key or not folder.is_dir():
            continue  # not ours
        made = None if beside else store.record(kind, key)
        if made is None:
            yield _piece("leftover", folder, kind=kind)
        elif not made.is_gone:
            yield _piece("artefact", folder, runs, made=made)
        else:
            killed = any((folder / name).exists() for name in made.dropped)  # who dropped it was
            yield _piece("leftover" if killed else "record", folder, made=made)


def _piece(
    what: What,
    folder: Path,
    runs: Sequence[KnownRun] = (),
    *,
    kind: str = "",
    made: Artefact | None = None,
) -> Piece:
    key = folder.name.partition(".")[0]
    facts: dict[str, Any] = made.facts if made is not None else {}
    size = frees = 0
    changed = time.time()
    with suppress(FileNotFoundError):  # a run at work moved it meanwhile
        changed = folder.stat().st_mtime
        for base, _, names in os.walk(folder):
            for path in (Path(base) / name for name in names):
                size += path.stat().st_size
                frees += 0 if made and path.name == MANIFEST else size_on_disk(path)
    return Piece(
        what=what,
        kind=kind or folder.parent.name,
        name=str(facts.get("name") or f"{folder.parent.name}/{key[:16]}"),
        path=folder,
        key=key,
        size=size,
        frees=frees,
        seconds=float(facts.get("seconds", 0.0)),
        age=max(0.0, time.time() - changed) / DAY,
        runs=tuple(run.folder for run in runs if key in run.needed),
    )
