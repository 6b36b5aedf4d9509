"""What a table of the report is made of; the template lays it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What a table's cell says: the text, and something smaller under it.

    Attributes:
        kind: How the text is set off: one of `KINDS`, or "" for plain text.
        links: Places in the same page: (what to call it, "#where").
    """

    text: str
    detail: str = ""
    kind: str = ""
    links: tuple[tuple[str, str], ...] = ()


KINDS = ("good", "bad", "open", "plain")
"""Established, refuted or failed, not settled, and a badge without colour."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to lay out.

    Attributes:
        columns: Headings; one that ends in "#" is a column of numbers, aligned right.
        rows: A cell for each column; the first names the row.
        note: A line under the table.
        title: What it shows; stands above it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    title: str = ""
