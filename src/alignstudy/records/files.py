"""Rows as files: JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from alignstudy.errors import DamagedArtefactError

Row = TypeVar("Row")

_USUAL = {"sample": 0, "wins": None}
"""What most rows say, and no file does."""


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Write dataclass rows as JSON lines; return their number.

    A `sample` of 0 and `wins` that nobody estimated are left out: most studies have no other.
    """
    num_rows = 0
    with path.open("w", encoding="utf-8") as file:
        for num_rows, row in enumerate(rows, start=1):  # noqa: B007 - counted
            values = asdict(row)
            for name, usual in _USUAL.items():
                if name in values and values[name] == usual:
                    del values[name]
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    return num_rows


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Read JSON lines that `write_rows` wrote.

    Raises:
        DamagedArtefactError: If a line isn't such a row.
    """
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield kind(**_revive({k: v for k, v in json.loads(line).items() if k in names}))
            except (ValueError, TypeError, AttributeError) as error:
                raise DamagedArtefactError(
                    f"{path}:{number}: not a {kind.__name__} row",
                    why=str(error),
                    hint="run the same command again: the stage that wrote it runs again",
                ) from error


def _revive(values: dict[str, Any]) -> dict[str, Any]:
    """Turn JSON values back into the tuples that rows hold."""
    if isinstance(values.get("wins"), list):
        values["wins"] = tuple(values["wins"])
    if isinstance(values.get("flags"), list):
        values["flags"] = tuple(values["flags"])
    elif "flags" in values:
        values["flags"] = {name: tuple(flags) for name, flags in values["flags"].items()}
    return values
