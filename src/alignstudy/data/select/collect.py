"""The rows of one part of a study, and the account of what happened to every row read."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from alignstudy.data.contamination.exclusion import EvaluationDialogues
from alignstudy.data.files.reading import (
    JOINED,
    NO_PREFERENCE,
    PLAIN,
    Reading,
    Usable,
    read_records,
)
from alignstudy.data.formats.row import opening
from alignstudy.data.select.selection import Draw, RowSelection
from alignstudy.errors import DataError, due_to
from alignstudy.records import Audit, Document, Pair, Quarantined

Kind = Literal["pairs", "documents"]
Record = TypeVar("Record")

OUTSIDE_SHARE = "outside the share"
NOT_DRAWN = "not drawn (max_rows)"
NOT_A_PAIR = "a plain text, where preference pairs are needed"


@dataclass(frozen=True, kw_only=True)
class Collected(Generic[Record]):
    """What came out of the data for one part of the study.

    Attributes:
        rows: Pairs, or documents (a pair gives two: prompt with chosen, prompt with rejected).
        audit: `read` is `used` + quarantined + excluded, counted in rows of the source.
    """

    rows: tuple[Record, ...]
    audit: Audit


class Account:
    """Counts what happens to rows, and keeps those that can't be used with file and line."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.num_read = 0
        self.quarantined: list[Quarantined] = []
        self.excluded: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def audit(self, *, used: int) -> Audit:
        """Close the account."""
        return Audit(
            part=self.part,
            read=self.num_read,
            used=used,
            quarantined=tuple(self.quarantined),
            excluded={reason: n for reason, n in sorted(self.excluded.items()) if n},
            notes=dict(sorted(self.notes.items())),
        )

    def check_some_used(self, used: int, source: Path, *, most_lost: float = 1) -> None:
        """Refuse to go on with nothing, or with what is left of mostly unusable rows.

        Args:
            used: Rows that came out.
            source: Where they are from.
            most_lost: Share of quarantined rows above which the rest isn't trusted.

        Raises:
            DataError: If no row is left, or too few; it names what took the rows away.
        """
        if not self.num_read:
            raise DataError(
                f"{source}: no row falls to {self.part}",
                why="it has one split; of that, rows with the same first turn stay together",
                hint="give more dialogues, or prompts of your own: prompts: {helpful: {file: ...}}",
                kept="nothing was run",
                keys=("data", "source"),
            )
        share = len(self.quarantined) / self.num_read
        if used and share <= most_lost:
            return
        first = self.quarantined[0] if self.quarantined else None
        losses = Counter(row.reason for row in self.quarantined) + self.excluded
        taken = "; ".join(f"{n} {reason}" for reason, n in losses.most_common(3))
        where = f" (first: {first.file}:{first.line}: {first.reason})" if first else ""
        why = f"{self.num_read} rows read{': ' if taken else ''}{taken}{where}"
        if used:
            raise DataError(
                f"{source}: {100 * share:.0f} % of the rows of {self.part} can't be used",
                why=why,
                hint="fix the rows, name the format or columns, or allow it:"
                f" data.max_quarantined: {math.ceil(100 * share) / 100:g}",
                kept="nothing was run",
            )
        raise DataError(
            f"{source}: no usable row for {self.part}",
            why=why,
            hint="fix the rows, name the format or columns, or widen the selection in the study"
            " file",
            kept="nothing was run",
        )


def collect_pairs(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    how: Reading = PLAIN,
    exclude: EvaluationDialogues | None = None,
) -> Collected[Pair]:
    """Read, parse, exclude and draw preference pairs (or demonstrations).

    Args:
        source: Folder or file.
        selection: What to take.
        part: Name in the audit: "train", "calibration".
        how: What columns mean, and which pairs come of scored answers.
        exclude: Dialogues that no row may share.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    account = Account(part)
    drawn = _draw(source, selection, account, kind="pairs", how=how, exclude=exclude)
    rows = tuple(record for row in drawn for record in row.records if isinstance(record, Pair))
    if len(rows) != len(drawn):
        account.notes["pairs"] = len(rows)
    return Collected(rows=rows, audit=account.audit(used=len(drawn)))


def collect(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    kind: Kind,
    how: Reading = PLAIN,
    exclude: EvaluationDialogues | None = None,
) -> Collected[Pair] | Collected[Document]:
    """Collect pairs as `collect_pairs` does, or texts to pretrain on.

    A pair becomes two documents, prompt with chosen and prompt with rejected: the unaligned mix.
    `max_rows` counts rows of the source; the audit's note "documents" counts what they became.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    if kind == "pairs":
        return collect_pairs(source, selection, part=part, how=how, exclude=exclude)
    account = Account(part)
    drawn = _draw(source, selection, account, kind=kind, how=how, exclude=exclude)
    documents: list[Document] = []
    for record in (record for row in drawn for record in row.records):
        if isinstance(record, Document):
            documents.append(record)
            continue
        responses = {"chosen": record.chosen, "rejected": record.rejected}
        documents += [
            Document(id=f"{record.id}/{name}", text=record.prompt + response)
            for name, response in responses.items()
            if response is not None
        ]
    account.notes["documents"] = len(documents)
    return Collected(rows=tuple(documents), audit=account.audit(used=len(drawn)))


def _draw(
    source: Path,
    selection: RowSelection,
    account: Account,
    *,
    kind: Kind,
    how: Reading,
    exclude: EvaluationDialogues | None,
) -> list[Usable]:
    """Return the rows that are taken; the account holds why the others are not."""
    draw: Draw[Usable] = Draw(selection.max_rows, seed=selection.seed)
    for row in read_records(source, selection, how=how):
        account.num_read += 1
        if isinstance(row, Quarantined):
            account.quarantined.append(row)
            continue
        account.num_read += row.joined
        account.excluded[JOINED] += row.joined
        if kind == "pairs" and any(isinstance(record, Document) for record in row.records):
            account.quarantined.append(row.row.quarantined(NOT_A_PAIR))
            continue
        reason = None if row.records else NO_PREFERENCE
        if row.records:
            first = row.records[0]
            key = opening(first) if row.row.opening is None else row.row.opening
            reason = None if selection.holds(key) else OUTSIDE_SHARE
            if reason is None and exclude is not None:
                reason = exclude.reason_against(first)
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
    return drawn
