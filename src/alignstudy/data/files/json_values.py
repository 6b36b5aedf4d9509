"""JSON that is no JSON lines: an array of rows, or rows written over several lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from alignstudy.data.files.content import FREE_EXPANSION_BYTES, Rows, TextFile, named_faults
from alignstudy.data.files.jsonl import MAX_LINE_BYTES, checked_object, unique_keys
from alignstudy.data.formats.row import UnusableRow
from alignstudy.errors import DataError

PART = 2**20
_BETWEEN = " \t\r\n,"


def read_values(file: TextFile, *, name: str, texts: str | None = None) -> Rows:
    """Read the rows of a JSON array, or one object after the other, one at a time in memory.

    An object that holds one list of objects ({"data": [...]}) is that list; bare texts become
    rows with the one column `texts`, if that is given.

    Raises:
        DataError: If the text ends early, is no JSON, or holds columns instead of rows.
    """
    number = 0
    with named_faults(name) as faults:
        for value in _Scanner(file, name):
            for row in _unwrapped(value, name) if number == 0 else (value,):
                faults.done = number = number + 1
                try:
                    if isinstance(row, _Broken):
                        raise UnusableRow(row.reason)
                    if texts is not None and isinstance(row, str):
                        yield number, {texts: row}
                    else:
                        yield number, checked_object(row)
                except UnusableRow as unusable:
                    yield number, str(unusable)


class _Broken(dict[str, Any]):
    """A row that can't be used, so that the rows after it can."""

    reason = ""


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return unique_keys(items)
    except UnusableRow as unusable:
        broken = _Broken()
        broken.reason = str(unusable)
        return broken


class _Scanner:
    """Decodes a text value after value, with no more of it in memory than the value at hand."""

    def __init__(self, file: TextFile, name: str) -> None:
        self.file, self.name = file, name
        self.text, self.at, self.number, self.ended = "", 0, 0, False
        self.pending, self.size = b"", PART
        self.decoder = json.JSONDecoder(object_pairs_hook=_object)
        self.in_array = self._starts("[")
        self.at += self.in_array

    def __iter__(self) -> Iterator[Any]:
        """Yield the elements of the array, or the values that follow each other."""
        while not (self.in_array and self._starts("]")):
            self._starts(",")
            if self.at == len(self.text) and not self.in_array:
                return
            yield self._value()

    def _starts(self, mark: str) -> bool:
        """Pass over white space and commas; say whether what follows starts so."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BETWEEN:
                self.at += 1
            if self.at < len(self.text) or self.ended:
                return self.text.startswith(mark, self.at)
            self._more()

    def _value(self) -> Any:  # noqa: ANN401 - JSON
        """Decode the next value.

        Raises:
            DataError: If there is none, or it isn't JSON.
        """
        while True:
            try:
                value, self.at = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                fault, hopeless = f"{error.msg} at character {error.pos - self.at + 1}", False
            except RecursionError:
                fault, hopeless = "nested too deeply", True
            except ValueError:
                fault, hopeless = "a number has too many digits", True
            else:
                self.number, self.size = self.number + 1, PART
                return value
            # All rows may stand in one object.
            most = MAX_LINE_BYTES if self.in_array or self.number else FREE_EXPANSION_BYTES
            if self.ended or hopeless or len(self.text) - self.at > most:
                ends = self.ended and self.at == len(self.text)
                raise DataError(
                    f"{self.name}: row {self.number + 1} can't be read",
                    why="the array has no closing bracket: the file is cut short"
                    if ends
                    else fault,
                    hint="write the file again; as JSON lines, a bad row costs that row alone",
                    kept=f"nothing was changed; {self.number} rows before it were readable",
                )
            self._more()

    def _more(self) -> None:
        """Read on; twice as much each time, so that long values aren't decoded often."""
        part = self.file.part(self.size)
        self.pending, self.size, self.ended = self.pending + part, 2 * self.size, not part
        more = self.pending.decode() if self.ended else _whole(self.pending)
        self.pending = b"" if self.ended else self.pending[len(more.encode()) :]
        self.text, self.at = self.text[self.at :] + more, 0


def _whole(part: bytes) -> str:
    """Decode as many whole characters as there are."""
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        if len(part) - error.start > 3:
            raise
        return part[: error.start].decode()


def _unwrapped(value: object, name: str) -> list[Any]:
    """Return the rows that a text's first object holds, or it itself.

    Raises:
        DataError: If it holds columns.
    """
    if not isinstance(value, dict):
        return [value]
    lists = [each for each in value.values() if isinstance(each, list)]
    rows = [each for each in lists if each and all(isinstance(row, dict) for row in each)]
    talks = {"messages", "conversations", "chosen", "rejected", "completions", "answers"}
    if len(rows) == 1 and not talks & set(value):
        return rows[0]
    columns = [each for each in value.values() if isinstance(each, dict | list)]
    if (
        len(value) > 1
        and len(columns) == len(value)
        and not talks & set(value) - {"chosen", "rejected"}
    ):
        sizes = {len(each) for each in columns}
        texts = all(
            isinstance(cell, str) or cell is None
            for each in columns
            for cell in (each.values() if isinstance(each, dict) else each)
        )
        if texts and len(sizes) == 1:
            raise DataError(
                f"{name} holds columns ({', '.join(list(value)[:4])}), not rows",
                why="each key has a list of cells",
                hint="write rows, with pandas: frame.to_json(file, orient='records', lines=True)",
            )
    return [value]
