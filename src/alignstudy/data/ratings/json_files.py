"""JSON that other programs wrote: read whole, or line by line, with faults that name the place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignstudy.data.files.jsonl import decoded
from alignstudy.data.formats.row import UnusableRow
from alignstudy.errors import DataError, EnvironmentFault


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: If it is no plain file.
        EnvironmentFault: If it can't be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no plain file", hint="name a file, or take it out")
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be read", why=str(error)) from error


def parse_json(text: bytes, where: object) -> Any:  # noqa: ANN401 - JSON
    """Parse JSON in UTF-8, a byte order mark or none before it.

    Raises:
        DataError: If it is something else, or holds a key twice.
    """
    try:
        return decoded(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, UnusableRow) as error:
        raise DataError(
            f"{where}: not JSON in UTF-8", why=str(error), hint="write or fetch the file again"
        ) from error


def load_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """Read a JSON file.

    Raises:
        DataError: If it is something else.
        EnvironmentFault: If it can't be read.
    """
    return parse_json(read_bytes(path), path)


def load_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Read JSON lines: (number from 1, value) of each that isn't blank.

    Raises:
        DataError: If a line is something else.
        EnvironmentFault: If the file can't be read.
    """
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{path}:{number}")
