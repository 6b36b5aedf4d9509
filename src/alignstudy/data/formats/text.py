"""Plain texts to pretrain on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow, text_of
from alignstudy.records import Document


class TextFormat:
    """Plain texts to pretrain on: {"text": ...}."""

    fields = ("text",)

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Whether there is a text, with nothing of a pair beside it."""
        return "text" in fields and not {"prompt", "chosen", "rejected", "messages"} & set(fields)

    def parse(self, row: RawRow) -> Parsed:
        """Take the text as it is.

        Raises:
            UnusableRow: If it is empty.
        """
        text = text_of(row, "text")
        if not text.strip():
            raise UnusableRow("text is empty")
        return Parsed(record=Document(id=row.id, text=text))
