"""How many rows a part of the data has and how long they are: exact where made, else sampled."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from alignstudy.data.files.jsonl import read_jsonl
from alignstudy.data.files.layout import SplitFile, choose_files
from alignstudy.data.files.parquet import read_parquet
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import RawRow, UnusableRow
from alignstudy.data.select.held_out import HeldOutSettings
from alignstudy.data.select.selection import TEST_SHARE, RowSelection
from alignstudy.data.world.generate import write_world
from alignstudy.records import Axis, Document, Pair, read_rows
from alignstudy.study.run.store import Artefact, Store
from alignstudy.study.stages.data import (
    ROWS,
    CollectRows,
    SelectPrompts,
    WriteWorld,
    read_prompts,
)

SAMPLE = 400
"""Rows that lengths are taken from, a file."""
COUNTED_BYTES = 32 * 2**20
"""Bytes of text a file that lines are counted in; the rest is extrapolated."""

Texts = tuple[str, str, str]
"""Prompt, chosen, rejected; a document is all prompt."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one part of the data.

    Attributes:
        rows: How many there are.
        sample: Some of them.
        exact: Whether `rows` was counted rather than extrapolated.
    """

    rows: float
    sample: tuple[Texts, ...]
    exact: bool


class Counter:
    """Counts parts of the data, each once.

    Args:
        store: Where rows that were collected before lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts: dict[str, Part | None] = {}

    def part(self, stage: CollectRows) -> Part | None:
        """Count the rows of a part; None where its source isn't on this machine."""
        artefact = self._store.peek(stage.kind, stage.key)
        name = f"rows {stage.key} {artefact is not None}"
        if name not in self._parts:
            self._parts[name] = (
                _collected(artefact, stage)
                if artefact is not None
                else self._selected(stage, stage.selection, whole=stage.rows == "documents")
            )
        return self._parts[name]

    def num_prompts(self, stage: SelectPrompts, axes: Sequence[str] | None = None) -> float:
        """Count the prompts of some axes, as asked for: fewer may be found; None: of all."""
        sets = stage.settings.sets.items()
        return float(sum(n.size for axis, n in sets if axes is None or axis.name in axes))

    def prompts(self, stage: SelectPrompts) -> list[str]:
        """Return prompts where they were chosen; else prompts of the split that they come from.

        Empty where the source isn't on this machine.
        """
        artefact = self._store.peek(stage.kind, stage.key)
        if artefact is not None:
            return [prompt.text for prompt in read_prompts(artefact.folder)]
        found = [
            texts[0]
            for chosen in stage.settings.sets.values()
            for file in self._files(stage, chosen.subsets, chosen.split)
            for texts in _sample(file, stage.format)
        ]
        return found[:: max(1, len(found) // SAMPLE)]

    def held_out(
        self, stage: SelectPrompts, settings: HeldOutSettings, axes: Sequence[str]
    ) -> Part | None:
        """Count the labelled pairs of some axes; None where the source isn't on this machine."""
        asked = [axis for axis in stage.settings.sets if axis.name in axes and settings.has(axis)]
        made = self._store.peek(stage.kind, stage.key) is not None
        name = f"held out {settings.part} {asked} {stage.key} {made}"
        if name not in self._parts:
            parts = [self._held_out(stage, settings, axis) for axis in asked]
            found = [part for part in parts if part is not None]
            self._parts[name] = _joined(found) if len(found) == len(parts) else None
        return self._parts[name]

    def _held_out(self, stage: SelectPrompts, settings: HeldOutSettings, axis: Axis) -> Part | None:
        artefact = self._store.peek(stage.kind, stage.key)
        if artefact is None:
            return self._selected(stage, settings.selection(axis), whole=False)
        path = artefact.folder / f"{settings.part}-{axis.name}.jsonl"
        pairs = list(read_rows(path, Pair)) if path.is_file() else []
        sample = tuple(_texts(pair) for pair in pairs[:SAMPLE])
        return Part(rows=len(pairs), sample=sample, exact=True)

    def _selected(
        self, stage: CollectRows | SelectPrompts, chosen: RowSelection, *, whole: bool
    ) -> Part | None:
        """Count what a selection takes of a source; what is excluded besides is not subtracted."""
        files = self._files(stage, chosen.subsets, chosen.split)
        if not files:
            return None
        rows = sum(_count(file) * _taken(file, chosen) for file in files)
        if chosen.max_rows is not None:
            rows = min(rows, chosen.max_rows)
        sample = [texts for file in files for texts in _sample(file, stage.format)]
        if whole and any(rejected for *_, rejected in sample):
            rows *= 2  # each response makes a document of its own
        return Part(rows=rows, sample=_as_rows(sample, whole=whole), exact=False)

    def _files(
        self, stage: CollectRows | SelectPrompts, subsets: Sequence[str], split: str
    ) -> list[SplitFile]:
        """Find the files of a split; none where the source isn't here."""
        source = stage.source
        path = self._world(source) if isinstance(source, WriteWorld) else source.path
        return choose_files(path, subsets=subsets, split=split) if path.exists() else []

    def _world(self, stage: WriteWorld) -> Path:
        """Write the small world aside: half a second, and its rows needn't be guessed."""
        made = self._store.peek(stage.kind, stage.key)
        if made is not None:
            return made.folder
        folder = self._aside / stage.key
        if not folder.exists():
            write_world(stage.settings, folder)
        return folder

    @cached_property
    def _aside(self) -> Path:
        """Make a folder that goes when this counter goes."""
        folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder


def _joined(parts: Sequence[Part]) -> Part:
    return Part(
        rows=sum(part.rows for part in parts),
        sample=tuple(texts for part in parts for texts in part.sample),
        exact=all(part.exact for part in parts),
    )


def _taken(file: SplitFile, chosen: RowSelection) -> float:
    """The share of a file's rows that a selection takes; few are left out for other causes."""
    low, high = chosen.share
    made = 1.0
    if file.split is None:
        made = TEST_SHARE if chosen.split == "test" else 1 - TEST_SHARE
    return made * (high - low)


def _collected(artefact: Artefact, stage: CollectRows) -> Part:
    """Read some rows of a finished CollectRows, evenly over the file."""
    rows = int(artefact.facts["rows"])
    step = max(1, rows // SAMPLE)
    with (artefact.folder / ROWS).open(encoding="utf-8") as file:
        found = [json.loads(line) for line in islice(file, 0, None, step)]
    if stage.rows == "documents":
        sample = tuple((row["text"], "", "") for row in found)
    else:
        sample = tuple((row["prompt"], row["chosen"], row["rejected"] or "") for row in found)
    return Part(rows=rows, sample=sample, exact=True)


def _as_rows(sample: list[Texts], *, whole: bool) -> tuple[Texts, ...]:
    """Write a sample as documents, if documents are made of it."""
    if not whole:
        return tuple(sample)
    return tuple(
        (prompt + response, "", "")
        for prompt, *responses in sample
        for at, response in enumerate(responses)
        if response or at == 0
    )


def _sample(file: SplitFile, fmt: str) -> list[Texts]:
    """Read the first rows of a file; those that can't be used are passed over."""
    reader: Callable[..., Any] = read_parquet if file.path.name.endswith(".parquet") else read_jsonl
    found = []
    for line, content in islice(reader(file.path, name=file.name), SAMPLE):
        if isinstance(content, str):
            continue
        row = RawRow(
            file=file.name, line=line, subset=file.subset, split=file.split or "", fields=content
        )
        try:
            found.append(_texts(parse_row(row, fmt=fmt).record))
        except UnusableRow:  # the stage that collects rows counts it, with the reason
            continue
    return found


def _texts(record: Pair | Document) -> Texts:
    if isinstance(record, Document):
        return record.text, "", ""
    return record.prompt, record.chosen, record.rejected or ""


def _count(file: SplitFile) -> float:
    """Count a file's rows; of a long one, by the share of it that was read."""
    if file.path.name.endswith(".parquet"):
        from pyarrow.parquet import ParquetFile

        return float(ParquetFile(file.path).metadata.num_rows)
    size = file.path.stat().st_size
    with file.path.open("rb") as raw:
        packed = file.path.name.endswith(".gz")
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        lines = read = 0
        while read < COUNTED_BYTES and (block := stream.read(2**20)):
            lines, read = lines + block.count(b"\n"), read + len(block)
        return lines * max(1.0, size / max(1, raw.tell())) if read >= COUNTED_BYTES else lines
