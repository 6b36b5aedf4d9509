"""From a raw row to a record, by the format that is named or recognised."""

from __future__ import annotations

from functools import cache

from alignstudy.data import FORMATS
from alignstudy.data.formats.row import Format, Parsed, RawRow, UnusableRow


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
    for name in FORMATS:
        if _format(name).recognises(row.fields):
            return _format(name).parse(row)
    known = "; ".join(f"{name}: {', '.join(_format(name).fields)}" for name in FORMATS)
    given = ", ".join(sorted(map(str, row.fields))[:6]) or "none"
    raise UnusableRow(f"its fields ({given}) fit no format ({known})")


@cache
def _format(name: str) -> Format:
    made: Format = FORMATS.load(name)()
    return made
