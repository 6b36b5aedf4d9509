"""Hold a run folder against its manifest, and what it shows against the store and its sources."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alignstudy.errors import (
    DamagedArtefactError,
    InputError,
    LockHeldError,
    NotFetchedError,
)
from alignstudy.formatting import plural
from alignstudy.runtime.keyed_file import KeyedFile
from alignstudy.runtime.recorded import differences
from alignstudy.sources import (
    RepoType,
    Source,
    digest_of,
    home_path,
    plain_files,
    resolve,
    sha256_of,
)
from alignstudy.study.graph.fingerprint import canonical, digest
from alignstudy.study.run.known_runs import KnownRuns, read_run
from alignstudy.study.run.manifest import MANIFEST, Artefact, read_manifest
from alignstudy.study.run.pieces import Placed
from alignstudy.study.run.run_folder import LOCK, PROVENANCE, RunFolder
from alignstudy.study.run.store import Store

_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Finding:
    """Something that isn't as it was made.

    Attributes:
        what: "run folder", "artefact", "store" or "source".
        where: File, artefact or role.
        why: What became of it.
    """

    what: str
    where: str
    why: str


@dataclass(kw_only=True)
class Verified:
    """What was held against what.

    Attributes:
        files: Of the run folder, unchanged or not.
        artefacts: Of the store that the run rests on.
        elsewhere: Artefacts that aren't in this store, dropped weights among them: not verified.
        sources: That were found, and hashed.
        findings: What isn't as it was made; empty: all is.
    """

    files: int = 0
    artefacts: int = 0
    elsewhere: list[str] = field(default_factory=list)
    sources: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def in_a_line(self) -> str:
        """What was verified, in words."""
        found = (
            f"{plural(self.files, 'file')} of the run folder, {plural(self.artefacts, 'artefact')}"
            f" of the store, {plural(self.sources, 'source')}"
        )
        if self.elsewhere:
            found += f"; not in this store, so not verified: {plural(len(self.elsewhere), 'thing')}"
        return found

    def say(self, what: str, where: str, why: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(what, where, why))

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        return asdict(self)


def verify(run: str | Path, *, store: Store | None = None) -> Verified:
    """Verify a run folder whole, and the store's artefacts from what it shows to its sources.

    Nothing is changed. Artefacts that are no longer in the store, and sources that are no longer
    where they were, are told and not found fault with.

    Args:
        run: A run folder.
        store: Where it was made; None: the user's.

    Raises:
        InputError: If it is no run folder.
        LockHeldError: If a run is at work in it.
        EnvironmentFault: If this user may not read something.
    """
    folder = RunFolder(path=home_path(run).absolute())
    if not any((folder.path / name).is_file() for name in (MANIFEST, PROVENANCE)):
        raise InputError(
            f"{run} holds no alignstudy run",
            why=f"there is neither {MANIFEST} nor {PROVENANCE} in it",
            hint="name a run folder: runs/<study>",
        )
    _refuse_at_work(folder)
    found = Verified()
    placed = _verify_folder(folder, found)
    _Chain(store or Store(), found).verify(folder, placed)
    _verify_sources(folder, found)
    return found


def _refuse_at_work(folder: RunFolder) -> None:
    lock = folder.path / LOCK
    if not lock.is_file():
        return
    with suppress(PermissionError):  # of a folder that this user may only read
        try:
            with FileLock(lock).acquire(timeout=0):
                pass
        except Timeout:
            raise LockHeldError(
                f"a run is at work in {folder.path}", hint="wait for it to end, then verify"
            ) from None


def _verify_folder(folder: RunFolder, found: Verified) -> Placed:
    """Hold the run folder against its manifest."""
    try:
        placed = folder.placed()
    except DamagedArtefactError as error:
        found.say("run folder", MANIFEST, error.why)
        return Placed()
    if not placed.files:
        found.say("run folder", MANIFEST, "missing: what was placed here isn't known")
        return placed
    if standing := folder.standing():
        found.say("run folder", str(folder.path), standing)
    found.files = len(placed.files)
    for name, why in differences(folder.path, placed.files, beside=frozenset({MANIFEST, LOCK})):
        found.say("run folder", name, why)
    return placed


class _Chain:
    """The artefacts that a run folder shows, and all that they were made from.

    Args:
        store: Where they lie.
        found: What is told of them.
    """

    def __init__(self, store: Store, found: Verified) -> None:
        self._store, self._found = store, found
        folders = (path for path in (store.root / "store").glob("*/*") if _KEY.fullmatch(path.name))
        self._kinds = {path.name: path.parent.name for path in folders}
        self._seen: dict[str, Artefact | None] = {}

    def verify(self, folder: RunFolder, placed: Placed) -> None:
        """Verify them, and what the folder shows of them."""
        names = {key: name for name, key in folder.last_keys().items()}
        for name, entry in placed.files.items():
            if not entry["of"]:
                continue
            made = self._made(entry["of"].partition("/")[2], names)
            if made is None or entry["sha256"] in made.hashes.values():
                continue
            if not _is_based(folder.path / name, made):
                self._found.say("run folder", name, f"not what {entry['of']} holds")
        for key in names:
            self._made(key, names)
        if self._seen:
            self._shared(folder)
        self._found.artefacts = sum(made is not None for made in self._seen.values())

    def _made(self, key: str, names: Mapping[str, str]) -> Artefact | None:
        """Verify an artefact and what it was made from; None if it can't be relied on."""
        waiting = [key]
        while waiting:
            each = waiting.pop()
            if each in self._seen:
                continue
            self._seen[each] = made = self._verified(each, names)
            if made is not None:
                needed = _KEY.findall(canonical(made.manifest["ingredients"]))
                waiting += [it for it in needed if it in self._kinds or it in names]
        return self._seen[key]

    def _verified(self, key: str, names: Mapping[str, str]) -> Artefact | None:
        kind = self._kinds.get(key)
        if kind is None:
            self._found.elsewhere.append(names.get(key, key))
            return None
        try:
            place = self._store.folder(kind, key)
            made = Artefact(folder=place, manifest=read_manifest(place))
        except DamagedArtefactError as error:
            self._found.say("artefact", error.what, error.why)
            return None
        self._found.elsewhere += [f"{place / name}, dropped" for name in made.dropped]
        changed = list(made.differences())
        if digest(made.manifest["ingredients"]) != key:
            changed.append((MANIFEST, "its key isn't that of its ingredients"))
        for name, why in changed:
            self._found.say("artefact", str(place / name), why)
        return made

    def _shared(self, folder: RunFolder) -> None:
        """Verify what the store believes beside artefacts: what runs need, and kept values."""
        runs = KnownRuns(self._store)
        if not os.path.lexists(entry := runs.entry_of(folder.path)):
            self._found.elsewhere.append(f"{entry}: what this run needs")
        else:
            try:
                read_run(entry)
            except DamagedArtefactError as error:
                self._found.say("store", error.what, error.why)
        for name in ("scores", "references"):
            kept = KeyedFile(self._store.root / name / f"{name}.sqlite", what=name)
            if fault := kept.fault():
                self._found.say("store", f"{name}/{name}.sqlite", fault)


def _is_based(adapter_config: Path, made: Artefact) -> bool:
    """Whether a file is an artefact's adapter_config.json with its base named by its place."""
    if adapter_config.name != "adapter_config.json":
        return False
    texts = (adapter_config, made.folder / adapter_config.name)
    try:
        placed, written = (json.loads(path.read_text(encoding="utf-8")) for path in texts)
    except (OSError, ValueError):
        return False
    return bool(
        {**placed, "base_model_name_or_path": ""} == {**written, "base_model_name_or_path": ""}
    )


def _verify_sources(folder: RunFolder, found: Verified) -> None:
    """Hash the sources of the run again, where they still are."""
    named = folder.provenance().get("sources", {})
    for role, source in named.items() if isinstance(named, dict) else ():
        try:
            path = _place_of(role, source)
            if path is None:
                found.elsewhere.append(f"{role}: {source['name']}")
                continue
            found.sources += 1
            if source["commit"] is not None:
                for name in _overwritten(path):
                    found.say("source", f"{role}: {path / name}", "not what was fetched")
            elif digest_of(path) != source["digest"]:
                found.say("source", f"{role}: {path}", "changed since the run read it")
        except InputError as error:
            found.say("source", f"{role}: {error.what}", error.why)


def _place_of(role: str, source: Mapping[str, Any]) -> Path | None:
    """Return where a source is now; None if it isn't on this machine any more."""
    if source["commit"] is None:
        path = home_path(source["name"])
        return path if path.exists() else None
    kind: RepoType = "dataset" if role == "data" else "model"
    asked = Source(name=source["name"], kind=kind, revision=source["commit"])
    try:
        return resolve(asked, offline=True).path
    except NotFetchedError:
        return None


def _overwritten(snapshot: Path) -> Iterator[str]:
    """Yield the files of a hub snapshot that aren't what their names in the cache say.

    A large file's name is its sha256, another's that of git: the sha1 of "blob", size and content.
    """
    for name, path in plain_files(snapshot).items():
        told = path.resolve().name
        if re.fullmatch("[0-9a-f]{64}", told) and sha256_of(path) != told:
            yield name
        elif re.fullmatch("[0-9a-f]{40}", told):
            content = path.read_bytes()
            if hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() != told:
                yield name
