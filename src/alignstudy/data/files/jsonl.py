"""JSON lines, read one by one: a bad line costs that line, a bad file stops.

No line is longer than `MAX_LINE_BYTES` in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from alignstudy.data.files.content import Rows, TextFile, named_faults
from alignstudy.data.formats.row import UnusableRow

MAX_LINE_BYTES = 10 * 2**20


def read_jsonl(file: TextFile, *, name: str) -> Rows:
    """Read (line number, fields); for a line that can't be used (line number, reason).

    Blank lines hold no row and are passed over. Line numbers start at 1.

    Args:
        file: The text, open.
        name: Its name in messages.

    Raises:
        DataError: If the file can't be read to its end, or expands beyond reason.
    """
    for number, line in _lines(file, name):
        try:
            if line.strip():
                yield number, _fields(line)
        except UnusableRow as unusable:
            yield number, str(unusable)


def _fields(line: bytes) -> dict[str, Any]:
    """Decode one line."""
    if len(line) > MAX_LINE_BYTES:
        raise UnusableRow(f"line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UnusableRow(f"invalid UTF-8 at byte {error.start + 1} of the line") from None
    return checked_object(decoded(text))


def decoded(text: str) -> Any:  # noqa: ANN401 - JSON
    """Decode JSON.

    Raises:
        UnusableRow: If it is none, holds a key twice, or a number beyond all digits.
    """
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise UnusableRow(f"bad JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise UnusableRow("bad JSON: nested too deeply") from None
    except UnusableRow:
        raise
    except ValueError:
        raise UnusableRow("bad JSON: a number has too many digits") from None


def checked_object(value: object) -> dict[str, Any]:
    """Return a row's fields.

    Raises:
        UnusableRow: If it is no object, or a field's name is no text that can be written.
    """
    if not isinstance(value, dict):
        raise UnusableRow("not a JSON object")
    try:
        "".join(value).encode()
    except UnicodeEncodeError:
        raise UnusableRow("a field's name holds half of a surrogate pair") from None
    return value


def unique_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a key given twice is refused, as either value may be the wrong one."""
    fields = dict(items)
    if len(fields) < len(items):
        counts = Counter(key for key, _ in items)
        twice = next(key for key, number in counts.items() if number > 1)
        raise UnusableRow(f"key '{ascii(twice)[1:-1]}' is given twice")
    return fields


def _lines(file: TextFile, name: str) -> Iterator[tuple[int, bytes]]:
    """Read lines; one that is too long comes as its first `MAX_LINE_BYTES` + 1 bytes."""
    is_middle = False
    with named_faults(name) as faults:
        while line := file.line(MAX_LINE_BYTES + 1):
            if not is_middle:
                faults.done += 1
                yield faults.done, line
            is_middle = len(line) > MAX_LINE_BYTES and not line.endswith(b"\n")
