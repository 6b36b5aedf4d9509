"""Where models and data come from: a hub id, or a folder or file of this machine.

A source is resolved once, to a local path and a digest of its content; everything after that
works on files. Hub revisions are pinned to the commit they were resolved to.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from alignstudy.errors import EnvironmentFault, InputError, NotFetchedError, first_line

RepoType = Literal["model", "dataset"]

MODEL_PATTERNS = (
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spm.model",
    "*.spm",
    "sentencepiece*",
    "chat_template*",
)
"""The only files that are fetched of a model: no code, no other frameworks' weights."""

ROW_SUFFIXES = frozenset({".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".txt"})
"""Endings by which the name of data is a file's, whether or not it is there."""


def home_path(name: str | Path) -> Path:
    """Return a path with `~` filled in; that of a user who isn't there stays as it is."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own raises there


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place that a study names.

    Attributes:
        name: Hub id or path, as the study gives it.
        kind: What lies there.
        revision: Branch, tag or commit on the hub; None: its main branch.
    """

    name: str
    kind: RepoType
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is meant as a path: it exists, or looks like nothing that a hub id can be."""
        path = home_path(self.name)
        is_file = self.kind == "dataset" and path.suffix in ROW_SUFFIXES
        looks_local = self.name.startswith((".", "/", "~")) or self.name.count("/") != 1
        return is_file or looks_local or path.exists()


@dataclass(frozen=True, kw_only=True)
class ResolvedSource:
    """A source found on this machine.

    Attributes:
        path: Folder or file.
        digest: sha256 over names and contents (local), or `commit:<sha>` (hub).
        commit: The hub's commit; None for local sources.
    """

    source: Source
    path: Path
    digest: str
    commit: str | None = None


def resolve(source: Source, *, offline: bool, patterns: Iterable[str] = ()) -> ResolvedSource:
    """Find a source, fetching it from the hub where it must be and may be.

    Args:
        source: What a study names.
        offline: Whether only this machine is looked at.
        patterns: Which files are fetched; none given: all of a data set, of a model those that
            its weights and its tokenizer are in.

    Raises:
        InputError: If a local path, or a reachable hub's repository or revision, doesn't exist.
        NotFetchedError: If a hub id is neither in the local hub cache nor reachable.
    """
    if not source.is_local:
        folder = _hub_folder(source, offline=offline, patterns=_patterns(source, patterns))
        commit = folder.name
        return ResolvedSource(source=source, path=folder, digest=f"commit:{commit}", commit=commit)
    path = home_path(source.name).absolute()
    if not path.exists():
        raise InputError(
            f"{source.kind} '{source.name}' doesn't exist",
            why=f"there is no file or folder {path}",
            hint="name a folder or file of this machine, or a hub id such as owner/name",
            kept="nothing was run",
        )
    if source.revision is not None:
        raise InputError(
            f"{source.kind} '{source.name}' is a local path, and has no revision",
            why=f"revision: {source.revision} would be ignored",
            hint="drop the revision, or name a hub id",
            kept="nothing was run",
        )
    return ResolvedSource(source=source, path=path, digest=digest_of(path))


def _patterns(source: Source, patterns: Iterable[str]) -> list[str] | None:
    return list(patterns or (MODEL_PATTERNS if source.kind == "model" else ())) or None


def plain_files(folder: Path) -> dict[str, Path]:
    """List the files of a source, by name relative to it, hidden ones left out: all that is read.

    A link to something inside is followed, a folder once. In a snapshot of the hub's cache the
    whole repository counts as inside: the files themselves lie there.

    Raises:
        InputError: If a link leads outside or back, or something is neither a file nor a folder.
        EnvironmentFault: If a folder can't be read.
    """
    inside = _boundary(folder)
    seen, found = {folder.resolve()}, {}
    waiting = [(folder, "")]
    while waiting:
        place, prefix = waiting.pop()
        for entry in _inside(place):
            path, name = place / entry, prefix + entry
            real = path.resolve() if path.is_symlink() else path
            if real is not path and not real.is_relative_to(inside):
                raise _not_a_part(path, "a link that leads outside", real)
            if real.is_dir():
                if real is not path and real in seen:
                    raise _not_a_part(path, "a link to what is read anyway", real)
                seen.add(real.resolve())
                waiting.append((path, f"{name}/"))
            elif real.is_file():
                found[name] = path
            else:
                raise _not_a_part(path, "no file and no folder", real)
    return dict(sorted(found.items()))


def _boundary(folder: Path) -> Path:
    """Return what a source's links may lead to: its folder; in the hub's cache its repository."""
    real = folder.resolve()
    repository = real.parent.parent
    is_snapshot = real.parent.name == "snapshots" and repository.name.startswith(
        ("models--", "datasets--")
    )
    return repository if is_snapshot else real


def _inside(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError as error:
        raise EnvironmentFault(
            f"{folder} can't be read",
            why=error.strerror or str(error),
            hint="check its permissions: what can't be read can't be told apart from what changed",
        ) from error


def _not_a_part(path: Path, what: str, real: Path) -> InputError:
    return InputError(
        f"{path} is {what}",
        why=f"what is read must be what is hashed, and lie in the source ({real} doesn't)",
        hint="copy it into the folder, or take it out",
        kept="nothing was run",
    )


def files_of(path: Path) -> dict[str, Path]:
    """List the files of a source: those in a folder, or the file that it is.

    Raises:
        InputError: If it holds no file, or something that is no plain file of its own.
        EnvironmentFault: If a folder can't be read.
    """
    files = plain_files(path) if path.is_dir() else {path.name: path}
    if not files:
        raise InputError(f"{path} holds no file", hint="name a folder that holds what is meant")
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is no plain file", hint="name a file or a folder")
    return files


def digest_of(path: Path) -> str:
    """Hash a file, or a folder's files by name and content; hidden files are left out.

    Raises:
        InputError: If it holds no file, or something that is no plain file of its own.
        EnvironmentFault: If a file can't be read.
    """
    whole = hashlib.sha256()
    for name, file in files_of(path).items():
        whole.update(f"{name}\0{sha256_of(file)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


LARGE = 2**20
"""Bytes of a file whose hash is remembered: weights are asked for theirs four times a training."""

SETTLED = 50_000_000
"""Nanoseconds after a change of a file, beyond which a further one has another time for sure."""

_hashes: dict[tuple[int, ...], str] = {}


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal.

    A large file is read once in a process, as long as the system says that it is unchanged: its
    place on the disk, its size, and the time of its last change, which nobody can set.

    Raises:
        EnvironmentFault: If the file can't be read.
    """
    try:
        with file.open("rb") as stream:
            before = _stamp(stream)
            if before not in _hashes:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
                settled = time.time_ns() - before[-1] > SETTLED
                if not (settled and before[2] >= LARGE and before == _stamp(stream)):
                    return found
                _hashes[before] = found
            return _hashes[before]
    except OSError as error:
        raise EnvironmentFault(
            f"{file} can't be read", why=error.strerror or str(error), hint="check its permissions"
        ) from error


def _stamp(stream: IO[bytes]) -> tuple[int, ...]:
    """Return device, number, size, and times of the last changes of an open file."""
    held = os.fstat(stream.fileno())
    return held.st_dev, held.st_ino, held.st_size, held.st_mtime_ns, held.st_ctime_ns


def _hub_folder(source: Source, *, offline: bool, patterns: list[str] | None) -> Path:
    """Return the snapshot folder of a hub id; its name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    try:
        folder = snapshot_download(
            source.name,
            repo_type=source.kind,
            revision=source.revision,
            allow_patterns=patterns,
            local_files_only=offline,
        )
    except RevisionNotFoundError as error:
        raise InputError(
            f"{source.kind} '{source.name}' has no revision '{source.revision}'",
            hint="name a branch, a tag or a commit of it",
            kept="nothing was run",
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{source.kind} '{source.name}' is not on the hub, or not for you",
            why="there is neither a public one of that name, nor one that your login may read",
            hint="correct the name, or run `hf auth login` and accept the terms on its page",
            kept="nothing was run",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise NotFetchedError(
            f"{source.kind} '{source.name}' is not on this machine",
            why="fetching is switched off (--offline, or HF_HUB_OFFLINE=1)"
            if offline
            else first_line(error),
            hint="connect to the network and run again with fetching on, or name a local folder"
            " of the same layout",
            kept="every finished stage",
        ) from error
    return Path(folder)
