"""A table of plain values, as CSV for machines and Markdown for people."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

Cell = str | int | float | None

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: plain values, formatted only when written.

    Attributes:
        name: File name without its ending.
        title: What it shows, with units.
        columns: Names, the first `model` in every table of models.
        rows: One tuple of cells a row; None is an empty cell.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def to_csv(self) -> str:
        """Return the table as CSV: six decimals (p-values: six digits), text that never runs."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            writer.writerow([_csv_cell(cell, name) for name, cell in cells])
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return the table as Markdown: numbers to two decimals, p-values to four digits."""
        lines = [_markdown_row(self.columns), "|" + " --- |" * len(self.columns)]
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            lines.append(_markdown_row(_markdown_cell(cell, name) for name, cell in cells))
        return f"{_markdown_text(self.title)}\n\n" + "\n".join(lines) + "\n"


def _csv_cell(cell: Cell, column: str) -> str:
    """Write a number as it is; an apostrophe keeps a spreadsheet from running text as a formula."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return repr(float(f"{cell:.6g}") if column.startswith("p_") else round(cell, 6) + 0.0)
    if isinstance(cell, int):
        return str(cell)
    text = _CONTROL.sub(" ", cell)
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) else text


def _markdown_row(cells: Iterable[str] | Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_cell(cell: Cell, column: str) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}" if column.startswith("p_") else _two_decimals(cell)
    return str(cell) if isinstance(cell, int) else _markdown_text(cell)


def _two_decimals(number: float) -> str:
    """Round halves away from zero, as the published tables do: 28.125 is 28.13."""
    exact = Decimal(repr(round(number, 6)))
    return str(exact.quantize(Decimal("0.01"), ROUND_HALF_UP) + Decimal("0.00"))


def _markdown_text(text: str) -> str:
    """Keep text from being read as table borders, links, images or HTML."""
    return re.sub(r"([\\|`\[\]<>])", r"\\\1", _CONTROL.sub(" ", text))
