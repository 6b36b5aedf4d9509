"""The rows of one part of a study, and the account of what happened to every row read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from alignstudy.data.contamination.exclusion import EvaluationDialogues
from alignstudy.data.files.reading import PLAIN, Reading
from alignstudy.data.files.records import (
    JOINED,
    NO_PREFERENCE,
    Record,
    Usable,
    read_asked,
    read_rated,
    read_records,
)
from alignstudy.data.formats.row import Answers, opening
from alignstudy.data.select.account import Account
from alignstudy.data.select.selection import Draw, RowSelection
from alignstudy.errors import due_to
from alignstudy.records import Audit, Document, Pair, Quarantined, Rated
from alignstudy.records.rated import refuse_one_kind

Kind = Literal["pairs", "rated", "documents"]
"""What trainings read; demonstrations are pairs without a rejected response."""

OUTSIDE_SHARE = "outside the share"
NOT_DRAWN = "not drawn (max_rows)"
NOT_A_PAIR = "a plain text, where preference pairs are needed"
ONE_RESPONSE = "without a rejected response (demonstrations)"


@dataclass(frozen=True, kw_only=True)
class Collected(Generic[Record]):
    """What came out of the data for one part of the study.

    Attributes:
        rows: Pairs, rated responses or documents (a pair gives two of either).
        audit: `read` is `used` + quarantined + excluded, counted in rows of the source.
    """

    rows: tuple[Record, ...]
    audit: Audit


def collect_pairs(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    how: Reading = PLAIN,
    exclude: EvaluationDialogues | None = None,
    compared: bool = False,
) -> Collected[Pair]:
    """Read, parse, exclude and draw preference pairs (or demonstrations).

    Args:
        source: Folder or file.
        selection: What to take.
        part: Name in the audit: "train", "calibration".
        how: What columns mean, and which pairs come of scored answers.
        exclude: Dialogues that no row may share.
        compared: Whether demonstrations are left out: they have one response.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    rows = _without_texts(read_records(source, selection, how=how))
    reasons = (_reason_of_one_response,) if compared else ()
    drawn = _draw(rows, source, selection, part, how, exclude, *reasons)
    pairs = drawn.records
    if len(pairs) != drawn.used:
        drawn.account.notes["pairs"] = len(pairs)
    return drawn.collected(pairs)


def collect_rated(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    how: Reading = PLAIN,
    exclude: EvaluationDialogues | None = None,
) -> Collected[Rated]:
    """Collect rated responses in the same way; `max_rows` counts rows of the source.

    Raises:
        DataError: If the source can't be read, no usable row is left, or all are of one kind.
    """
    drawn = _draw(read_rated(source, selection, how=how), source, selection, part, how, exclude)
    rated, notes = drawn.records, drawn.account.notes
    good = sum(row.desirable for row in rated)
    notes |= {"desirable responses": good, "undesirable responses": len(rated) - good}
    refuse_one_kind(good, len(rated) - good)
    sides = {(row.prompt, row.response, row.desirable) for row in rated}
    both = sum((prompt, text, not side) in sides for prompt, text, side in sides) // 2
    if both:
        notes["responses that are rated both ways"] = both
    return drawn.collected(rated)


def collect_asked(
    source: Path, selection: RowSelection, *, part: str, how: Reading = PLAIN
) -> Collected[Pair | Answers]:
    """Collect rows whose prompts can be asked: pairs, demonstrations, or answers to one prompt.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    drawn = _draw(read_asked(source, selection, how=how), source, selection, part, how, None)
    return drawn.collected(drawn.records)


def collect_documents(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    how: Reading = PLAIN,
    exclude: EvaluationDialogues | None = None,
) -> Collected[Document]:
    """Collect texts to pretrain on.

    A pair becomes two documents, prompt with chosen and prompt with rejected: the unaligned mix.
    `max_rows` counts rows of the source; the audit's note "documents" counts what they became.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    drawn = _draw(read_records(source, selection, how=how), source, selection, part, how, exclude)
    documents: list[Document] = []
    for record in drawn.records:
        if isinstance(record, Document):
            documents.append(record)
            continue
        responses = {"chosen": record.chosen, "rejected": record.rejected}
        documents += [
            Document(id=f"{record.id}/{name}", text=record.prompt + response)
            for name, response in responses.items()
            if response is not None
        ]
    drawn.account.notes["documents"] = len(documents)
    return drawn.collected(tuple(documents))


COLLECTORS: Mapping[Kind, Callable[..., Collected[Any]]] = {
    "pairs": collect_pairs,
    "rated": collect_rated,
    "documents": collect_documents,
}
"""What collects the rows of trainings, by what they are."""


@dataclass(frozen=True, kw_only=True)
class _Drawn(Generic[Record]):
    """Rows that were drawn, and the account of the others."""

    rows: list[Usable[Record]]
    account: Account

    @property
    def used(self) -> int:
        return len(self.rows)

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(record for row in self.rows for record in row.records)

    def collected(self, rows: tuple[Any, ...]) -> Collected[Any]:
        return Collected(rows=rows, audit=self.account.audit(used=self.used))


def _draw(
    rows: Iterator[Usable[Record] | Quarantined],
    source: Path,
    selection: RowSelection,
    part: str,
    how: Reading,
    exclude: EvaluationDialogues | None,
    *reasons: Callable[[Any], str | None],
) -> _Drawn[Record]:
    """Return the rows that are taken; the account holds why the others are not."""
    account = Account(part)
    draw: Draw[Usable[Record]] = Draw(selection.max_rows, seed=selection.seed)
    against = (*reasons, *([exclude.reason_against] if exclude is not None else []))
    for row in rows:
        account.num_read += 1
        if isinstance(row, Quarantined):
            account.quarantined.append(row)
            continue
        account.num_read += row.joined
        account.excluded[JOINED] += row.joined
        reason = None if row.records else NO_PREFERENCE
        if row.records:
            first: Any = row.records[0]
            key = opening(first) if row.row.opening is None else row.row.opening
            found = (because(first) for because in against)
            outside = None if selection.holds(key) else OUTSIDE_SHARE
            reason = outside or next(filter(None, found), None)
        if reason is None:
            draw.offer(row.row.id, row)
        else:
            account.excluded[reason] += 1
    account.excluded[NOT_DRAWN] = draw.num_left_out
    drawn = draw.items()
    mostly_bad = 2 * len(account.quarantined) > account.num_read
    with due_to(*(("data", "source") if mostly_bad else ())):
        account.check_some_used(len(drawn), source, most_lost=how.max_quarantined)
    for row in drawn:
        account.notes.update(row.notes)
    return _Drawn(rows=drawn, account=account)


def _without_texts(
    rows: Iterator[Usable[Pair | Document] | Quarantined],
) -> Iterator[Usable[Pair] | Quarantined]:
    """Put texts aside, of which no pair can be made."""
    for row in rows:
        if isinstance(row, Quarantined):
            yield row
            continue
        pairs = tuple(record for record in row.records if isinstance(record, Pair))
        if len(pairs) < len(row.records):
            yield row.row.quarantined(NOT_A_PAIR)
        else:
            yield Usable(row=row.row, records=pairs, notes=row.notes, joined=row.joined)


def _reason_of_one_response(pair: Pair) -> str | None:
    return ONE_RESPONSE if pair.rejected is None else None
