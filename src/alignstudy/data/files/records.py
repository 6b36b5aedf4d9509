"""What rows become: pairs (or demonstrations), rated responses, or prompts to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from alignstudy.data.files.reading import PLAIN, Reading, read
from alignstudy.data.formats.answers import PairRule, pairs_of, rated_of
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import Answers, RawRow, UnusableRow
from alignstudy.data.select.selection import RowSelection
from alignstudy.records import Document, Pair, Quarantined, Rated

JOINED = "joined with another answer to the same prompt"
NO_PREFERENCE = "no answer that is better than another"
A_TEXT = "a plain text, where responses to prompts are needed"

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Usable(Generic[Record]):
    """A row that can be used, and what came of it.

    Attributes:
        row: The first of those that it was joined of.
        records: Several where a row's answers make several; none where they make none.
        joined: Further rows that it took in.
    """

    row: RawRow
    records: tuple[Record, ...]
    notes: Mapping[str, int] = field(default_factory=dict)
    joined: int = 0


def read_records(
    source: Path, selection: RowSelection, *, how: Reading = PLAIN
) -> Iterator[Usable[Pair | Document] | Quarantined]:
    """Stream what the rows of a selection become: pairs, demonstrations or texts.

    Rows that hold one rated answer each are kept until the end: those of one prompt become one,
    with its pairs (demonstrations, where all its answers were rated as good).

    Raises:
        DataError: If the source, a subset or the split isn't there, or a file can't be read.
        UnknownNameError: If there is no such format.
    """
    for row in _read(source, selection, how):
        if isinstance(row, Quarantined):
            yield row
            continue
        (record,) = row.records
        found = _pairs(record, how.pairs) if isinstance(record, Answers) else (record,)
        yield Usable(row=row.row, records=found, notes=row.notes, joined=row.joined)


def read_rated(
    source: Path, selection: RowSelection, *, how: Reading = PLAIN
) -> Iterator[Usable[Rated] | Quarantined]:
    """Stream rated responses: a labelled row is one, a pair two, a demonstration a good one.

    Answers with scores come to pairs first.

    Raises:
        DataError: If the source, a subset or the split isn't there, or a file can't be read.
        UnknownNameError: If there is no such format.
    """
    for row in _read(source, selection, how, labelled_apart=True):
        if isinstance(row, Quarantined):
            yield row
            continue
        (record,) = row.records
        try:
            found = tuple(_rated(record, how.pairs))
        except UnusableRow as unusable:
            yield row.row.quarantined(str(unusable))
            continue
        yield Usable(row=row.row, records=found, notes=row.notes, joined=row.joined)


def read_asked(
    source: Path, selection: RowSelection, *, how: Reading = PLAIN
) -> Iterator[Usable[Pair | Answers] | Quarantined]:
    """Stream rows with prompts that can be asked, one of each prompt's: they need no preference.

    Raises:
        DataError: If the source, a subset or the split isn't there, or a file can't be read.
        UnknownNameError: If there is no such format.
    """
    for row in _read(source, selection, how):
        if isinstance(row, Quarantined):
            yield row
            continue
        (record,) = row.records
        if isinstance(record, Document):
            yield row.row.quarantined(A_TEXT)
            continue
        yield Usable(row=row.row, records=(record,), notes=row.notes, joined=row.joined)


def _read(
    source: Path, selection: RowSelection, how: Reading, *, labelled_apart: bool = False
) -> Iterator[Usable[Pair | Document | Answers] | Quarantined]:
    """Parse rows; the answers to one prompt that stand in several become one's."""
    alone: dict[str, list[tuple[RawRow, Answers]]] = {}
    for row in read(source, selection, how=how):
        if isinstance(row, Quarantined):
            yield row
            continue
        try:
            parsed = row.parsed or parse_row(row, fmt=how.format)
        except UnusableRow as unusable:
            yield row.quarantined(str(unusable))
            continue
        record = parsed.record
        if isinstance(record, Answers) and record.alone and not (record.labelled & labelled_apart):
            alone.setdefault(record.prompt, []).append((row, record))
        else:
            yield Usable(row=row, records=(record,), notes=parsed.notes)
    for rows in alone.values():
        (first, record), answers = rows[0], tuple(a for _, each in rows for a in each.answers)
        joined = replace(record, answers=answers)
        yield Usable(row=first, records=(joined,), joined=len(rows) - 1)


def _pairs(record: Answers, rule: PairRule) -> tuple[Pair, ...]:
    """Make the pairs of a prompt's answers; of those rated as good alone, demonstrations."""
    if not (record.labelled and all(score == 1 for _, score in record.answers)):
        return tuple(pairs_of(record, rule))
    return tuple(
        Pair(
            id=record.id if number == 1 else f"{record.id}/{number}",
            prompt=record.prompt,
            chosen=text,
            rejected=None,
            subset=record.subset,
        )
        for number, (text, _) in enumerate(record.answers, start=1)
    )


def _rated(record: Pair | Document | Answers, rule: PairRule) -> Iterator[Rated]:
    """Rate responses one by one.

    Raises:
        UnusableRow: If the record is a text, or a label says neither.
    """
    if isinstance(record, Document):
        raise UnusableRow(A_TEXT)
    if isinstance(record, Answers) and record.labelled:
        yield rated_of(record)
        return
    for pair in pairs_of(record, rule) if isinstance(record, Answers) else (record,):
        texts = {"chosen": pair.chosen, "rejected": pair.rejected}
        for side, text in texts.items():
            if text is not None:
                yield Rated(
                    id=pair.id if pair.rejected is None else f"{pair.id}/{side}",
                    prompt=pair.prompt,
                    response=text,
                    desirable=side == "chosen",
                    subset=pair.subset,
                )
