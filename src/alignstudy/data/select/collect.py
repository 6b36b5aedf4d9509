"""The rows of one part of a study, and the account of what happened to every row read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from alignstudy.data.contamination.exclusion import EvaluationDialogues
from alignstudy.data.files.reading import read
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import Parsed, UnusableRow, opening
from alignstudy.data.select.selection import Draw, RowSelection
from alignstudy.errors import DataError
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

    def check_some_used(self, used: int, source: Path) -> None:
        """Refuse to go on with nothing.

        Raises:
            DataError: If no row is left; it names what took the rows away.
        """
        if used:
            return
        first = self.quarantined[0] if self.quarantined else None
        losses = Counter(row.reason for row in self.quarantined) + self.excluded
        taken = "; ".join(f"{n} {reason}" for reason, n in losses.most_common(3))
        where = f" (first: {first.file}:{first.line}: {first.reason})" if first else ""
        raise DataError(
            f"{source}: no usable row for {self.part}",
            why=f"{self.num_read} rows read{': ' if taken else ''}{taken}{where}",
            hint="fix the rows, name the format, or widen the selection in the study file",
            kept="nothing was run",
        )


def collect_pairs(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    fmt: str = "auto",
    exclude: EvaluationDialogues | None = None,
) -> Collected[Pair]:
    """Read, parse, exclude and draw preference pairs (or demonstrations).

    Args:
        source: Folder or file.
        selection: What to take.
        part: Name in the audit: "train", "calibration".
        fmt: A name of `FORMATS`, or "auto".
        exclude: Dialogues that no row may share.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    account = Account(part)
    drawn = _draw(source, selection, account, kind="pairs", fmt=fmt, exclude=exclude)
    rows = tuple(parsed.record for parsed in drawn if isinstance(parsed.record, Pair))
    return Collected(rows=rows, audit=account.audit(used=len(rows)))


def collect(
    source: Path,
    selection: RowSelection,
    *,
    part: str,
    kind: Kind,
    fmt: str = "auto",
    exclude: EvaluationDialogues | None = None,
) -> Collected[Pair] | Collected[Document]:
    """Collect pairs as `collect_pairs` does, or texts to pretrain on.

    A pair becomes two documents, prompt with chosen and prompt with rejected: the unaligned mix.
    `max_rows` counts rows of the source; the audit's note "documents" counts what they became.

    Raises:
        DataError: If the source can't be read, or no usable row is left.
    """
    if kind == "pairs":
        return collect_pairs(source, selection, part=part, fmt=fmt, exclude=exclude)
    account = Account(part)
    drawn = _draw(source, selection, account, kind=kind, fmt=fmt, exclude=exclude)
    documents: list[Document] = []
    for record in (parsed.record for parsed in drawn):
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
    fmt: str,
    exclude: EvaluationDialogues | None,
) -> list[Parsed]:
    """Return the rows that are taken; the account holds why the others are not."""
    draw: Draw[Parsed] = Draw(selection.max_rows, seed=selection.seed)
    for raw in read(source, selection, fmt=fmt):
        account.num_read += 1
        if isinstance(raw, Quarantined):
            account.quarantined.append(raw)
            continue
        try:
            parsed = parse_row(raw, fmt=fmt)
            if kind == "pairs" and isinstance(parsed.record, Document):
                raise UnusableRow(NOT_A_PAIR)
        except UnusableRow as unusable:
            account.quarantined.append(raw.quarantined(str(unusable)))
            continue
        is_inside = selection.holds(opening(parsed.record))
        reason = None if is_inside else OUTSIDE_SHARE
        if is_inside and exclude is not None:
            reason = exclude.reason_against(parsed.record)
        if reason is None:
            draw.offer(raw.id, parsed)
        else:
            account.excluded[reason] += 1
    account.excluded[NOT_DRAWN] = draw.num_left_out
    drawn = draw.items()
    account.check_some_used(len(drawn), source)
    for parsed in drawn:
        account.notes.update(parsed.notes)
    return drawn
