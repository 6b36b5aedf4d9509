"""Frees what no known run needs, without any run's losing anything.

Nothing that a known run needs is freed, whether it is at work or done: see `KnownRuns`. What is
freed leaves its manifest: how many versions of a study were compared, and how long stages like it
take, stays known.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from filelock import Timeout

from alignstudy.formatting import plural
from alignstudy.study.run.known_runs import KnownRun, KnownRuns
from alignstudy.study.run.store import Store, disk_faults, size_on_disk
from alignstudy.study.tools.stock import Piece, Stock, take_stock


@dataclass(kw_only=True)
class Pruned:
    """What was freed, or would be.

    Attributes:
        done: Whether it was; else nothing was changed.
        pieces: What goes.
        held: What a run holds now: it stays.
        gone: Runs whose folders are no longer there.
        absent: Runs that are out of reach: what they need stays.
        freed: Bytes that are free now, or would be.
    """

    done: bool = False
    pieces: list[Piece] = field(default_factory=list)
    held: list[Piece] = field(default_factory=list)
    gone: list[KnownRun] = field(default_factory=list)
    absent: list[KnownRun] = field(default_factory=list)
    freed: int = 0

    @property
    def seconds(self) -> float:
        """What it took to make all that goes."""
        return sum(piece.seconds for piece in self.pieces)

    def notes(self) -> Iterator[str]:
        """Say of runs that are gone, out of reach or at work what this means."""
        for run in self.gone:
            if run.folder is not None:
                yield f"run gone: {run.folder}; what only it needed goes"
        for run in self.absent:
            yield (
                f"run out of reach: {run.folder}; what it needs stays (if it was deleted for good,"
                " make the folder around it again: it then counts as gone)"
            )
        if self.held:
            yield f"{plural(len(self.held), 'thing')} left alone: a run holds them now"

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        return {
            "done": self.done,
            "freed": self.freed,
            "seconds_to_make_again": round(self.seconds, 1),
            "pieces": [piece.to_json() for piece in self.pieces],
            "held": [piece.to_json() for piece in self.held],
            "runs_gone": [str(run.folder) for run in self.gone if run.folder],
            "runs_out_of_reach": [str(run.folder) for run in self.absent],
        }


def prune(
    store: Store, *, checkpoints: bool = False, keep_days: float = 0.0, dry: bool = True
) -> Pruned:
    """Free what no known run needs: artefacts, weights, checkpoints, leftovers.

    Args:
        store: Where it lies.
        checkpoints: Also free those of known runs that were stopped: they begin anew.
        keep_days: What was changed less than so many days ago stays.
        dry: Only say what would go.

    Raises:
        DamagedArtefactError: If what a run needs can't be read; nothing was freed.
        EnvironmentFault: If something can't be read or removed, or a newer alignstudy wrote it.
    """
    if dry:
        return _prune(store, checkpoints, keep_days, free=_can_be_freed)
    with KnownRuns(store).locked():  # no run begins meanwhile
        found = _prune(store, checkpoints, keep_days, free=_free)
        for run in found.gone:
            run.forget()
    return replace(found, done=True)


def _prune(
    store: Store,
    checkpoints: bool,
    keep_days: float,
    *,
    free: Callable[[Store, Piece], int | None],
) -> Pruned:
    stock = take_stock(store)
    found = Pruned(
        gone=[run for run in stock.runs if run.state == "gone"],
        absent=[run for run in stock.runs if run.state == "absent"],
    )
    goes = [*stock.unneeded, *_spared(store, stock)]
    if checkpoints:
        busy = frozenset[str]().union(*(r.needed for r in stock.runs if r.state == "running"))
        stopped = (each for each in stock.pieces if each.what == "checkpoints" and each.runs)
        goes += [each for each in stopped if each.key not in busy]
    for piece in goes:
        if piece.age >= keep_days:
            freed = free(store, piece)
            (found.held if freed is None else found.pieces).append(piece)
            found.freed += freed or 0
    return found


def _spared(store: Store, stock: Stock) -> Iterator[Piece]:
    """Return the weights of artefacts that only their other files are needed of."""
    for piece in stock.pieces:
        if piece.what != "artefact" or not piece.runs:
            continue
        if any(run.needs_weights(piece.key) for run in stock.runs):
            continue
        made = store.record(piece.kind, piece.key)
        names = made.manifest.get("weights", ()) if made is not None else ()
        paths = [piece.path / name for name in names if (piece.path / name).is_file()]
        if paths:
            size, frees = sum(path.stat().st_size for path in paths), sum(map(size_on_disk, paths))
            yield replace(piece, what="weights", size=size, frees=frees)


def _can_be_freed(store: Store, piece: Piece) -> int | None:
    """Return the bytes that a piece would free; None if a run holds it now."""
    with disk_faults(f"the store at {store.root}"):
        try:
            with store.lock(piece.key).acquire(timeout=0):
                return piece.frees
        except Timeout:
            return None


def _free(store: Store, piece: Piece) -> int | None:
    """Free a piece; None if a run holds it now."""
    if piece.what == "weights":
        return store.drop_weights(piece.kind, piece.key)
    if store.record(piece.kind, piece.path.name) is not None:
        return store.drop(piece.kind, piece.key)
    with disk_faults(str(piece.path)):
        try:
            with store.lock(piece.key).acquire(timeout=0):
                if not piece.path.exists():  # whoever wrote it finished meanwhile
                    return 0
                aside = piece.path.with_name(f"{piece.key}.tmp-{uuid.uuid4().hex[:8]}")
                piece.path.rename(aside)
                shutil.rmtree(aside)
                return piece.frees
        except Timeout:
            return None
