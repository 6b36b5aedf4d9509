"""From a raw row to a record, by the format that is named or recognised."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from alignstudy.data import FORMATS
from alignstudy.data.formats.row import Format, Parsed, RawRow, UnusableRow
from alignstudy.data.formats.shape import Shape


def parse_row(row: RawRow, *, fmt: str) -> Parsed:
    """Make a row's record.

    Args:
        row: As it was read.
        fmt: A name of `FORMATS`, or "auto": by the row's own fields.

    Raises:
        UnusableRow: With the reason, if the row can't be used.
        UnknownNameError: If there is no such format.
    """
    if fmt != "auto":
        return _format(fmt).parse(row)
    name = recognised(row.fields)
    if name is not None:
        return _format(name).parse(row)
    given = ", ".join(sorted(map(str, row.fields))[:6]) or "none"
    raise UnusableRow(
        f"its columns ({given}) fit no format: name them by data.columns, such as"
        " {prompt: question}, or see `alignstudy list formats`"
    )


def recognised(fields: Mapping[str, Any]) -> str | None:
    """Return the name of the format that a row's columns are those of; None: of no one."""
    columns = tuple(
        (name, None if value is None else type(value) is list) for name, value in fields.items()
    )
    usual = len(columns) <= MOST_COLUMNS and all(len(name) <= LONGEST_COLUMN for name, _ in columns)
    return _recognised(columns) if usual else _recognised.__wrapped__(columns)


MOST_COLUMNS, LONGEST_COLUMN = 100, 100
"""What a row has whose columns are remembered: of odd ones, a thousand would fill the memory."""


@lru_cache(1024)
def _recognised(columns: tuple[tuple[str, bool | None], ...]) -> str | None:
    """Look formats through once for all rows of the same columns, lists and nulls."""
    values: dict[bool | None, object] = {None: None, True: [], False: ""}
    fields = {name: values[kind] for name, kind in columns}
    return next((name for name in FORMATS if _format(name).recognises(fields)), None)


@cache
def columns_known() -> tuple[str, ...]:
    """Return the columns by which published data sets' shapes are known."""
    shapes = [each for name in FORMATS if isinstance(each := _format(name), Shape)]
    return tuple(dict.fromkeys(name for each in shapes for name in (*each.fields, *each.beside)))


@cache
def _format(name: str) -> Format:
    found = FORMATS.load(name)
    made: Format = found() if isinstance(found, type) else found
    return made
