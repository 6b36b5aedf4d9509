"""What a table of the report is made of; the template lays it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What a table's cell says: the text, and something smaller under it."""

    text: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to lay out.

    Attributes:
        columns: Headings; one that ends in "#" is a column of numbers, aligned right.
        rows: A cell for each column; the first names the row.
        note: A line under the table.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
