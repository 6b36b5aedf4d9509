"""The rows of one file, whatever kind it is of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alignstudy.data.files.arrow import read_arrow, read_parquet
from alignstudy.data.files.content import Content, Rows, TextFile, content_of
from alignstudy.data.files.json_values import read_values
from alignstudy.data.files.jsonl import read_jsonl
from alignstudy.data.files.tables import DELIMITERS, read_table

COLUMNS = {
    "prompt",
    "chosen",
    "rejected",
    "question",
    "instruction",
    "input",
    "output",
    "response",
    "completion",
    "text",
    "label",
    "messages",
    "conversations",
}
"""Names by which a first line is known to be a header, whatever the file is called."""


_WRAPPER = re.compile(
    r'\{\s*("\w+"\s*:\s*("[^"]*"|[\d.]+|null|true|false)\s*,\s*)*"(data|rows|examples|train)"\s*:\s*\['
)
"""The beginning of an object that holds rows."""


def rows_of(path: Path, *, name: str, texts: str | None = None) -> Rows:
    """Read a file's rows one by one; its content decides what it is, then its name.

    Args:
        path: The file.
        name: Its name in messages.
        texts: The column that the elements of a JSON array of bare texts are; None: refused.

    Yields:
        (Line or row number from 1, fields); for a row that can't be used (number, reason).

    Raises:
        DataError: If it is of a kind that holds no rows, or can't be read to its end.
    """
    content = content_of(path, name=name)
    if content.kind == "parquet":
        yield from read_parquet(path, name=name)
    elif content.kind == "arrow":
        yield from read_arrow(path, name=name)
    else:
        reader = _text_reader(content, path.name.removesuffix(".gz"))
        with TextFile(path, content, name=name) as file:
            given = {} if texts is None or reader is not read_values else {"texts": texts}
            yield from reader(file, name=name, **given)


def _text_reader(content: Content, named: str) -> Callable[..., Rows]:
    """Tell JSON lines, JSON and tables apart."""
    head = content.head.lstrip("\ufeff").lstrip()
    first = head.split("\n", 1)[0].strip()
    if head.startswith("["):
        return read_values
    if head.startswith("{"):
        return read_jsonl if not _goes_on(head, first) else read_values
    cells = {cell.strip(' "') for mark in DELIMITERS for cell in first.split(mark)}
    is_table = named.endswith((".csv", ".tsv")) or len(cells & COLUMNS) > 1
    return read_table if is_table else read_jsonl


def _goes_on(head: str, first: str) -> bool:
    """Whether the first object doesn't end with its line, and is sound as far as can be seen."""
    lines = [line for line in head.split("\n", 3) if line.strip()]
    if len(lines) == 1:  # all there is, or the beginning of a long line
        lists = [each for each in _object(lines[0]).values() if isinstance(each, list | dict)]
        return bool(lists) or _WRAPPER.match(head) is not None
    if any(map(_object, lines[:2])):
        return False
    try:
        json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        return first[-1] in "{[,"
    return True


def _object(line: str) -> dict[str, Any]:
    """Return a line's object; an empty one, if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
