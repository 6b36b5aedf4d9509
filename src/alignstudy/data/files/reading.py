"""The one way into the data: the rows of a selection, streamed from a folder or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from alignstudy.data import FORMATS
from alignstudy.data.files.kinds import rows_of
from alignstudy.data.files.layout import SplitFile, choose_files, find_files
from alignstudy.data.formats.answers import PairRule
from alignstudy.data.formats.parsing import columns_known, parse_row
from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow, opening
from alignstudy.data.select.selection import (
    SHARE_SALT,
    SPLIT_SALT,
    TEST_SHARE,
    RowSelection,
    held_out_share,
    made_split,
)
from alignstudy.errors import DataError, due_to
from alignstudy.records import Quarantined
from alignstudy.settings import Settings

COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "messages",
    "completion",
    "label",
    "reference",
    "text",
    "system",
)


class Reading(Settings):
    """How rows are read: what their columns mean, and which pairs come of scored answers."""

    format: str = Field("auto", description="One of `alignstudy list formats`, or auto.")
    columns: dict[str, str] = Field(
        {},
        description="What a column is called in the file, where it isn't called so: {prompt:"
        f" question}}. Meant are {', '.join(COLUMNS)}, or any column of the format.",
    )
    pairs: PairRule = Field(
        "best_worst",
        description="Of a prompt's scored answers: best_worst: one pair; all: each answer against"
        " each worse one.",
    )
    parted: bool | None = Field(
        None,
        description="Whether the dialogues of a file, or of a folder with one split, are parted"
        " into train and test; null: where the study takes anything of split test.",
    )
    max_quarantined: float = Field(
        0.5, ge=0, le=1, description="Share of rows that can't be used above which a study stops."
    )

    @field_validator("columns")
    @classmethod
    def _columns_are_known(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            known = (*COLUMNS, *columns_known())
            if name not in known:
                close = get_close_matches(name, known, n=1)
                meant = f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"
                raise ValueError(f"'{name}' is no column of any format{meant}")
        return columns

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, name: str) -> str:
        if name not in ("auto", *FORMATS):
            raise ValueError(f"unknown format; known: auto, {', '.join(FORMATS)}")
        return name

    def named(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row's columns by the names that formats know."""
        if not self.columns:
            return fields
        theirs = set(self.columns.values())
        rest = {key: value for key, value in fields.items() if key not in theirs}
        found = {ours: fields[name] for ours, name in self.columns.items() if name in fields}
        return {**rest, **found}


PLAIN = Reading()
SMALL = 2 * 2**20
"""Bytes below which rows are read once more before they are parted."""


def read(
    source: Path, selection: RowSelection, *, how: Reading = PLAIN
) -> Iterator[RawRow | Quarantined]:
    """Stream the rows of a selection's subsets and split, in file order, not parsed.

    `share` and `max_rows` are applied by `collect`, after parsing and exclusion. A line that holds
    no row is given as quarantined (of a source of one split: in split train). Nothing is held in
    memory but the row at hand.

    Raises:
        DataError: If the source, a subset or the split isn't there, or a file can't be read.
    """
    files = choose_files(
        source, subsets=selection.subsets, split=selection.split, parted=how.parted
    )
    seen = _Seen(source, how)
    with due_to("data", "source"):
        share = held_out_share(_openings(files, how), salt=SPLIT_SALT) if _is_small(files) else None
        for file in files:
            for line, content in rows_of(file.path, name=file.name):
                seen.note(content, f"{file.name}:{line}")
                if isinstance(content, str):
                    if (file.split or "train") == selection.split:
                        yield Quarantined(file=file.name, line=line, reason=content)
                    continue
                row = _raw(file, line, content, how)
                if file.split is None:
                    row = _parted(row, TEST_SHARE if share is None else share, how)
                if row.split == selection.split:
                    yield row
        seen.check(selection)


class _Seen:
    """What the lines of a selection's files held."""

    def __init__(self, source: Path, how: Reading) -> None:
        self.source, self.rows = source, 0
        self.bad, self.missing = "", set(how.columns.values())
        self.columns: list[str] = []

    def note(self, content: Mapping[str, Any] | str, place: str) -> None:
        """Count a line."""
        if isinstance(content, str):
            self.bad = self.bad or f"{place}: {content}"
            return
        if not self.rows:
            self.columns = sorted(content)[:12]
        self.rows += 1
        if self.missing:
            self.missing -= content.keys()

    def check(self, selection: RowSelection) -> None:
        """Refuse files that hold no row at all, or none with the named columns.

        Raises:
            DataError: With the first line that is none, or what is there.
        """
        if not self.rows:
            raise DataError(
                f"{self.source}: no row could be read in split '{selection.split}'",
                why=self.bad or "its files are empty",
                hint="give JSON lines, JSON, CSV, Parquet or Arrow",
                kept="nothing was run",
            )
        if self.missing:
            raise DataError(
                f"{self.source}: no row has a column '{min(self.missing)}'",
                why=f"there are {', '.join(self.columns)}",
                hint="correct data.columns: {prompt: NAME-IN-THE-FILE}",
                kept="nothing was run",
                keys=("data", "columns"),
            )


def _raw(file: SplitFile, line: int, fields: Mapping[str, Any], how: Reading) -> RawRow:
    split = file.split or ""
    named = how.named(fields)
    return RawRow(file=file.name, line=line, subset=file.subset, split=split, fields=named)


def _parted(row: RawRow, test_share: float, how: Reading) -> RawRow:
    """Put a row into the split that its dialogue's hash falls into."""
    parsed: Parsed | None = None
    try:
        parsed = parse_row(row, fmt=how.format)
        key = opening(parsed.record)
    except UnusableRow:  # it will be quarantined in the split that it falls into
        key = json.dumps(dict(row.fields), sort_keys=True, default=str)
    return replace(row, split=made_split(key, test_share), parsed=parsed, opening=key)


def _is_small(files: Sequence[SplitFile]) -> bool:
    """Whether files that are to be parted are read once more for it, so that shares are exact."""
    size = sum(file.path.stat().st_size for file in files)
    return size < SMALL and any(file.split is None for file in files)


def _openings(files: Sequence[SplitFile], how: Reading) -> Iterator[str]:
    for file in files:
        for line, content in rows_of(file.path, name=file.name):
            try:
                if not isinstance(content, str):
                    row = _raw(file, line, content, how)
                    yield opening(parse_row(row, fmt=how.format).record)
            except UnusableRow:
                continue


def calibration_share(source: Path, split: str, *, how: Reading) -> float:
    """Return the share of a split's dialogues that is enough to calibrate a threshold on.

    Raises:
        DataError: If the source can't be read.
    """
    files = find_files(source, parted=how.parted)
    if sum(file.path.stat().st_size for file in files) >= SMALL:
        return TEST_SHARE
    rows = read(source, RowSelection(split=split), how=how)
    openings = []
    for row in rows:
        try:
            if isinstance(row, RawRow):
                parsed = row.parsed or parse_row(row, fmt=how.format)
                openings.append(opening(parsed.record))
        except UnusableRow:
            continue
    return held_out_share(openings, salt=SHARE_SALT)
