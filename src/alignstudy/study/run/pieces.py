"""What a run folder shows: which files, where they come from, and what was placed before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alignstudy.runtime.recorded import FileRecord
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.manifest import Artefact


class PlacedFile(FileRecord):
    """A file as it was placed: bytes, hash, of which artefact (`kind/key`), of which settings."""

    of: str
    study: str


@dataclass(frozen=True, kw_only=True)
class Export:
    """One thing that a run folder shows.

    Attributes:
        stage: Whose artefact it comes from.
        source: File or folder in the artefact; "" is the whole artefact.
        target: Where it goes in the run folder.
    """

    stage: Stage
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One file that is to be placed.

    Attributes:
        target: Its name in the run folder.
        content: The file that it is a copy of, or its text.
        record: What it is once it is placed.
        of: The artefact that it comes from, `kind/key`; "" if from none.
    """

    target: str
    content: Path | str
    record: FileRecord
    of: str = ""


def text_piece(target: str, text: str, *, of: str = "") -> Piece:
    """Return a text as a file to place."""
    raw = text.encode("utf-8")
    record = FileRecord(size=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    return Piece(target=target, content=text, record=record, of=of)


def pieces_of(export: Export, artefact: Artefact) -> Iterator[Piece]:
    """Yield the files of an artefact that an export shows."""
    files, of = artefact.manifest["files"], f"{export.stage.kind}/{export.stage.key}"
    for name, entry in files.items():
        prefix = f"{export.source}/" if export.source else ""
        if name == export.source or name.startswith(prefix):
            inner = name.removeprefix(prefix)
            target = export.target if name == export.source else f"{export.target}/{inner}"
            record = FileRecord(size=entry["size"], sha256=entry["sha256"])
            yield Piece(target=target, content=artefact.folder / name, record=record, of=of)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What a run folder's manifest says.

    Attributes:
        study: Digest of the settings that the results are of; "" where nothing was placed of any.
        files: What was placed, by name.
        placing: What was being placed when this was written; empty once it was.
    """

    study: str = ""
    files: Mapping[str, PlacedFile] = field(default_factory=dict)
    placing: Mapping[str, PlacedFile] = field(default_factory=dict)

    @property
    def shows_results(self) -> bool:
        """Whether anything of it was made by a stage."""
        return any(entry["of"] for entry in (*self.files.values(), *self.placing.values()))
