"""Where models and data come from: a hub id, or a folder or file of this machine.

A source is resolved once, to a local path and a digest of its content; everything after that
works on files. Hub revisions are pinned to the commit they were resolved to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


def digest_of(path: Path) -> str:
    """Hash a file, or a folder's files by name and content; hidden files are left out.

    Raises:
        EnvironmentFault: If a file can't be read.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if any(part.startswith(".") for part in name.split("/")):
            continue
        whole.update(f"{name}\0{sha256_of(file)}\n".encode())
    return whole.hexdigest()


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal.

    Raises:
        EnvironmentFault: If the file can't be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EnvironmentFault(
            f"{file} can't be read", why=error.strerror or str(error), hint="check its permissions"
        ) from error


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
