"""CSV and TSV: every cell is text, and nothing is guessed from it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from alignstudy.data.files.content import Rows, TextFile, named_faults
from alignstudy.data.files.jsonl import MAX_LINE_BYTES
from alignstudy.data.formats.row import UnusableRow
from alignstudy.errors import DataError

DELIMITERS = ",\t;|"
_PYTHON_LISTS = ("[{'role'", "[{'content'", "[{'from'", "[{'value'")


def read_table(file: TextFile, *, name: str) -> Rows:
    """Read (line number, fields) by the header's names; a cell may hold a JSON list of turns.

    The delimiter is what the header has most of: comma, tab, semicolon or bar.

    Raises:
        DataError: If there is no header, a column's name comes twice, or the file can't be read.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with named_faults(name) as faults:
        lines = _Lines(file)
        delimiter, columns = _header(lines, name)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            number = lines.number + 1
            try:
                cells = next(reader, None)
                if cells is None:
                    return
                faults.done = number
                if any(cells):
                    yield number, _fields(columns, cells)
            except csv.Error as error:
                yield number, f"bad CSV: {error}"
            except UnusableRow as unusable:
                yield number, str(unusable)


class _Lines:
    """A text's lines, as `csv` wants them, and how many were read."""

    def __init__(self, file: TextFile) -> None:
        self.file, self.number = file, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.line(MAX_LINE_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        rest = line
        while len(rest) >= MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = self.file.line(MAX_LINE_BYTES)
        if rest is not line:
            raise UnusableRow(f"line is longer than {MAX_LINE_BYTES // 2**20} MiB")
        return line.decode("utf-8", "surrogateescape")


def _header(lines: Iterator[str], name: str) -> tuple[str, list[str]]:
    """Read the first line: the delimiter, and the columns' names.

    Raises:
        DataError: If it names no columns, or one twice.
    """
    try:
        first = next(lines, "")
        delimiter = max(DELIMITERS, key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter), [])
        columns = [cell.strip() for cell in cells]
        twice = [column for column, number in Counter(columns).items() if number > 1]
        fault = f"column '{twice[0]}' comes twice" if twice else "" if any(columns) else "no header"
    except (csv.Error, UnusableRow) as error:
        fault = f"no header: {error}"
    if fault:
        raise DataError(
            f"{name}:1: {fault}",
            why="the first line names the columns, each once",
            hint="name them, such as prompt,chosen,rejected",
        )
    return delimiter, columns


def _fields(columns: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(columns):
        raise UnusableRow(f"has {len(cells)} cells, the header {len(columns)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise UnusableRow("invalid UTF-8: save the file as UTF-8") from None
    return {column: _cell(cell) for column, cell in zip(columns, cells, strict=True)}


def _cell(cell: str) -> Any:  # noqa: ANN401 - text, or a list of turns
    start = cell.lstrip()[:16]
    if start.startswith(_PYTHON_LISTS):
        raise UnusableRow("a list is written as Python's text: write JSON lines instead of CSV")
    if not start.startswith("[{"):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    turns = all(isinstance(each, dict) and {"role", "from"} & set(each) for each in value)
    return value if turns else cell
