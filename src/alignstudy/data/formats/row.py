"""A row between its file and its record, and what a format must offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from alignstudy.dialogue import parse_turns
from alignstudy.errors import nearest, shortened
from alignstudy.records import Document, Pair, Quarantined

LONGEST_REASON = 300
"""Characters of why a row can't be used: names and values in it may be as long as the row."""


class UnusableRow(ValueError):
    """A row that can't become a record; the text is the reason that the audit shows."""

    def __init__(self, reason: str) -> None:
        super().__init__(shortened(reason, LONGEST_REASON))


@dataclass(frozen=True, kw_only=True)
class RawRow:
    """A row as its file holds it.

    Attributes:
        file: Path inside the source.
        line: From 1; for Parquet the row number.
        subset: The folder it lies in; empty where there is none.
        split: The file's split, or the one that its dialogue's hash falls into.
        fields: Its columns, by the names that formats know.
        parsed: What it became, where that had to be known to read it.
        opening: Of its dialogue, where that was.
    """

    file: str
    line: int
    subset: str
    split: str
    fields: Mapping[str, Any]
    parsed: Parsed | None = None
    opening: str | None = None

    @property
    def id(self) -> str:
        """Name of the row, unique in its source: `<subset>/<split>:<line>` in the hub's layout."""
        folder, slash, name = self.file.rpartition("/")
        for suffix in (".gz", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"):
            name = name.removesuffix(suffix)
        return f"{folder}{slash}{name}:{self.line}"

    def quarantined(self, reason: str) -> Quarantined:
        """Return where this row is and why it can't be used."""
        return Quarantined(file=self.file, line=self.line, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A prompt with scored answers, of which pairs are made.

    Attributes:
        id: Of the row.
        prompt: Up to and including the cue.
        answers: (Text as it follows the cue, score); the higher is the better.
        alone: Whether other rows may hold further answers to the same prompt.
        labelled: Whether a score of 1 says that the answer is good, whatever others there are.
    """

    id: str
    prompt: str
    answers: tuple[tuple[str, float], ...]
    subset: str = ""
    alone: bool = False
    labelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A row that became a record.

    Attributes:
        record: A pair (a demonstration if `rejected` is None), a document, or scored answers.
        notes: What was done to it, counted: {"system turns merged": 1}.
    """

    record: Pair | Document | Answers
    notes: dict[str, int] = field(default_factory=dict)


class Format(Protocol):
    """How rows of one shape become records."""

    fields: tuple[str, ...]

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row is meant in this format: by columns' names, and which are lists or null."""

    def parse(self, row: RawRow) -> Parsed:
        """Make the record.

        Raises:
            UnusableRow: With the reason, if the row can't be used.
        """


def text_of(row: RawRow, name: str) -> str:
    """Return a text field of a row.

    Raises:
        UnusableRow: If it is missing, null, no text, or holds characters that no text can hold.
    """
    if name not in row.fields:
        close = nearest(name, map(str, row.fields))
        hint = f" (is '{close}' meant?)" if close else ""
        raise UnusableRow(f"field '{name}' is missing{hint}")
    return checked_text(row.fields[name], f"field '{name}'")


_JSON_KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list"}


def checked_text(value: object, where: str) -> str:
    """Check that a value is text that can be written, tokenised and shown.

    Raises:
        UnusableRow: If it isn't.
    """
    if value is None:
        raise UnusableRow(f"{where} is null")
    if not isinstance(value, str):
        raise UnusableRow(f"{where} is {_JSON_KINDS.get(type(value), 'an object')}, not text")
    if "\0" in value:
        raise UnusableRow(f"{where} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnusableRow(f"{where} holds half of a surrogate pair") from None
    return value


def opening(record: Pair | Document | Answers) -> str:
    """Return the words of a dialogue's first human turn, white space normalised.

    Everything that must not be torn apart (splits, shares) is keyed by it. A document that is no
    dialogue is its own opening.
    """
    text = record.text if isinstance(record, Document) else record.prompt
    first = next((turn.text for turn in parse_turns(text) if turn.role == "human"), text)
    return " ".join(first.split())
