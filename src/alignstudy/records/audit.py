"""What happened to the rows of the data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A row that was not used.

    Attributes:
        file: Path inside the source.
        line: From 1; for Parquet the row number.
        reason: In words that a person can act upon.
    """

    file: str
    line: int
    reason: str

    @property
    def fault(self) -> str:
        """The reason without its place in the row: what rows are counted by."""
        return re.sub(r" at (character|byte) \d+( of the \w+)?", "", self.reason)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What happened to the rows of one part of the data.

    Attributes:
        part: "prompts", "calibration", "train", ...
        read: Rows read from the source.
        used: Rows that came out.
        quarantined: Rows that can't be used, each with its reason.
        excluded: Reason -> number of good rows left out on purpose ("shares a dialogue with an
            evaluation prompt").
        notes: Other counts ("system turns merged").
    """

    part: str
    read: int
    used: int
    quarantined: tuple[Quarantined, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
