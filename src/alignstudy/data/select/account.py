"""The account of what happens to the rows of one part of a study."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from alignstudy.data.files.records import NO_PREFERENCE
from alignstudy.errors import DataError
from alignstudy.records import Audit, Quarantined


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
        losses = Counter(row.fault for row in self.quarantined) + self.excluded
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
        rated = "; responses that were rated one by one train kto with `rows: rated`"
        raise DataError(
            f"{source}: no usable row for {self.part}",
            why=why,
            hint="fix the rows, name the format or columns, or widen the selection in the study"
            f" file{rated if self.excluded[NO_PREFERENCE] else ''}",
            kept="nothing was run",
        )
