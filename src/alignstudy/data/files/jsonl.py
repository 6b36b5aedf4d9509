"""JSON lines, plain or gzipped, read one by one: a bad line costs that line, a bad file stops.

No line is longer than `MAX_LINE_BYTES` in memory, and a gzip file that expands beyond reason is
refused while it is read.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignstudy.data.formats.row import UnusableRow
from alignstudy.errors import DataError

MAX_LINE_BYTES = 10 * 2**20
MAX_EXPANSION = 200
FREE_EXPANSION_BYTES = 512 * 2**20
"""Below this size no ratio is asked for: regular text does compress well."""


def read_jsonl(path: Path, *, name: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Read (line number, fields); for a line that can't be used (line number, reason).

    Blank lines hold no row and are passed over. Line numbers start at 1.

    Args:
        path: The file; `.gz` is expanded on the way.
        name: Its name in messages.

    Raises:
        DataError: If the file can't be read to its end, or expands beyond reason.
    """
    for number, line in _lines(path, name):
        try:
            if line.strip():
                yield number, _fields(line, is_first=number == 1)
        except UnusableRow as unusable:
            yield number, str(unusable)


def _fields(line: bytes, *, is_first: bool) -> dict[str, Any]:
    """Decode one line."""
    if len(line) > MAX_LINE_BYTES:
        raise UnusableRow(f"line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        text = line.decode("utf-8-sig" if is_first else "utf-8")
        value = json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise UnusableRow(f"invalid UTF-8 at byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise UnusableRow(f"bad JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise UnusableRow("bad JSON: nested too deeply") from None
    if not isinstance(value, dict):
        raise UnusableRow("not a JSON object")
    return value


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a key given twice is refused, as either value may be the wrong one."""
    fields = dict(items)
    if len(fields) < len(items):
        names = [key for key, _ in items]
        twice = next(key for key in names if names.count(key) > 1)
        raise UnusableRow(f"key '{twice}' is given twice")
    return fields


def _lines(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """Read lines; one that is too long comes as its first `MAX_LINE_BYTES` + 1 bytes."""
    number, is_middle, packed = 0, False, path.name.endswith(".gz")
    try:
        limit = max(FREE_EXPANSION_BYTES, MAX_EXPANSION * path.stat().st_size)
        with io.BufferedReader(gzip.GzipFile(path), 2**18) if packed else path.open("rb") as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                if not is_middle:
                    number += 1
                    yield number, line
                if packed and stream.tell() > limit:
                    raise DataError(
                        f"{name}:{number}: the file expands to more than {limit / 2**20:.0f} MiB",
                        why=f"more than {MAX_EXPANSION} times its size on disk: no text compresses"
                        " so well",
                        hint="if the content is meant, name the expanded file instead of the .gz",
                        kept="nothing was changed",
                    )
                is_middle = len(line) > MAX_LINE_BYTES and not line.endswith(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, EOFError):
            why = "the gzip file is cut short: its end is missing"
        elif isinstance(error, gzip.BadGzipFile | zlib.error):
            why = f"the gzip file is corrupt ({error})"
        raise DataError(
            f"{name}:{number + 1}: the file can't be read further",
            why=why,
            hint="fetch or write the file again, or take it out of the source",
            kept=f"nothing was changed; {number} lines before it were readable",
        ) from error
