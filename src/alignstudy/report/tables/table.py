"""What a table is made of: columns that read rows, for files, for pages, or for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

from alignstudy.formatting import ABSENT, NO_BREAK, count, interval, number, short
from alignstudy.metrics.axes import axis_named
from alignstudy.records import Estimate


@dataclass(frozen=True)
class Cell:
    """What people read in one place of a table.

    Attributes:
        detail: Something smaller under the text.
        kind: How the text is set off: "good" (established), "bad" (refuted or failed), "open" (not
            settled), "plain" (a badge without colour), or "" for plain text.
        links: Places in the same page: (what to call it, "#where").
    """

    text: str
    detail: str = ""
    kind: str = ""
    links: tuple[tuple[str, str], ...] = ()


def plain(value: object) -> str:
    """Return any value as people read it."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value, 4)
    return count(value) if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Heading on pages; None leaves the column out of them.
        value: What the column holds: the path of a row's attributes or keys ("difference.low"), or
            a function of the row.
        format: Writes a value for pages, where it isn't a `Cell` already.
        name: Heading in files; None leaves the column out of them.
        is_number: Whether the column is aligned right.
        absent: What stands under the dash of a value that isn't there.
    """

    title: str | None
    value: str | Callable[[Any], object]
    format: Callable[[Any], Cell | str] = plain
    _: KW_ONLY
    name: str | None = None
    is_number: bool = False
    absent: str = ""

    def of(self, row: object) -> Any:  # noqa: ANN401 - whatever a record holds
        """Return what the column holds of a row; None where the path ends early."""
        if not isinstance(self.value, str):
            return self.value(row)
        found: Any = row
        for name in self.value.split("."):
            if found is not None:
                found = found.get(name) if isinstance(found, Mapping) else getattr(found, name)
        return found

    def cell(self, row: object) -> Cell:
        """Return what people read of a row."""
        value = self.of(row)
        if value is None:
            return Cell(ABSENT, self.absent)
        made = value if isinstance(value, Cell) else self.format(value)
        return made if isinstance(made, Cell) else Cell(made)


numeric = partial(Column, is_number=True)
"""Make a column that is aligned right."""


def for_files(*names: str, **paths: str) -> tuple[Column, ...]:
    """Return columns for files only: the rows' own attributes, then name=path."""
    given = {name: name for name in names} | paths
    return tuple(Column(None, path, name=name) for name, path in given.items())


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: rows of records, and the columns that read them.

    Attributes:
        rows: Records or mappings, one a row.
        title: What it shows, above the table on a page.
        note: A line under the table on a page.
        name: Of its files, without ending; "" for a table that has none.
        caption: What its files show, with units.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Any]
    title: str = ""
    note: str = ""
    name: str = ""
    caption: str = ""

    @classmethod
    def of(cls, rows: Sequence[Any], *columns: Column, **texts: str) -> Table:
        """Return a table of such rows and columns, with its title, note, name and caption."""
        return cls(rows=rows, columns=columns, **texts)

    @classmethod
    def of_values(
        cls, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str
    ) -> Table:
        """Return a table for files only, of plain values."""
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        return cls(name=name, columns=for_files(*columns), rows=named, caption=caption)

    @property
    def on_page(self) -> tuple[Column, ...]:
        """The columns that pages show."""
        return tuple(column for column in self.columns if column.title is not None)

    @property
    def in_files(self) -> tuple[Column, ...]:
        """The columns that files hold."""
        return tuple(column for column in self.columns if column.name is not None)

    @property
    def heads(self) -> tuple[str, ...]:
        """The headings on pages."""
        return tuple(str(column.title) for column in self.on_page)

    @property
    def cells(self) -> tuple[tuple[Cell, ...], ...]:
        """What pages show, a cell for each heading; the first names the row."""
        return tuple(tuple(column.cell(row) for column in self.on_page) for row in self.rows)

    def without(self, *titles: str) -> Table:
        """Return the table with columns left out, for narrow places."""
        return replace(self, columns=tuple(c for c in self.columns if c.title not in titles))


def prompts_of(axis: str) -> str:
    """Return the word for the prompts of an axis."""
    return axis_named(axis).prompts


def rounded(digits: int, *, signed: bool = False, unit: str = "") -> Callable[[float], str]:
    """Return what writes a number with so many decimals."""
    tail = f"{NO_BREAK}{unit}" if unit else ""
    return lambda value: f"{number(value, digits, signed=signed)}{tail}"


def estimated(digits: int, *, signed: bool = False, unit: str = "") -> Callable[[Estimate], Cell]:
    """Return what writes an estimate with its interval under it."""
    write = rounded(digits, signed=signed, unit=unit)
    return lambda estimate: Cell(write(estimate.value), interval(estimate, digits))
