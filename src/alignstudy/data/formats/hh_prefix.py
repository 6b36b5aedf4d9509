"""HH-RLHF rows split as TRL did it for the published study: at the longest common prefix.

The prompt ends where the two dialogues part: often within the response, sometimes within a word,
and before the last assistant turn where the contexts differ. No row is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignstudy.data.formats.row import Parsed, RawRow, text_of
from alignstudy.records import Pair


class HHPrefixFormat:
    """HH-RLHF, split at the longest common prefix as by TRL 0.16 (the published study)."""

    fields = ("chosen", "rejected")

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Never by itself: a study has to ask for it."""
        return False

    def parse(self, row: RawRow) -> Parsed:
        """Split both dialogues where their characters part, a space before that left behind.

        Raises:
            UnusableRow: If one of them is missing.
        """
        chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
        at = 0
        for at in range(min(len(chosen), len(rejected))):
            if chosen[at] != rejected[at]:
                at -= at > 0 and chosen[at - 1] == " "
                break
        pair = Pair(
            id=row.id,
            prompt=chosen[:at],
            chosen=chosen[at:],
            rejected=rejected[at:],
            subset=row.subset,
        )
        return Parsed(record=pair)
