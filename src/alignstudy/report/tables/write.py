"""Tables as text and as files: `tables/*.csv` for machines, Markdown for people.

The page's templates write the HTML.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from alignstudy.analysis.findings import Findings
from alignstudy.report.tables import comparisons, results, robustness
from alignstudy.report.tables.ranking import ranking_table
from alignstudy.report.tables.rewards import rewards_table
from alignstudy.report.tables.table import Cell, Column, Table
from alignstudy.report.untrusted import inert

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def write_tables(findings: Findings, folder: Path) -> list[Path]:
    """Write every table as `<name>.csv` and `<name>.md`.

    Args:
        findings: What was found.
        folder: Where to write; made if it isn't there.

    Returns:
        The files written.
    """
    return [path for table in tables_of(findings) for path in write_table(table, folder)]


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write a table as `<name>.csv` and `<name>.md` into a folder; make it if it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, text in ((".csv", csv_text(table)), (".md", markdown_file(table))):
        path = folder / (table.name + ending)
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        written.append(path)
    return written


def tables_of(findings: Findings) -> tuple[Table, ...]:
    """Return the tables that have files, of the leading judge but for `judges`.

    Metrics, improvement, scores, comparisons and omnibus always; the others where they have rows.
    """
    first = findings.first
    always = (
        results.rates_table(findings, first),
        results.improvement_table(first),
        results.scores_table(findings, first),
        comparisons.comparisons_table(first),
        results.omnibus_table(first),
    )
    others = (
        ranking_table(findings),
        robustness.rates_by_threshold_table(first),
        robustness.pair_sweeps_table(first),
        results.best_table(first),
        robustness.adjusted_table(first),
        robustness.values_by_seed_table(first),
        robustness.variances_table(first),
        robustness.sensitivities_table(first),
        robustness.bounds_table(first),
        results.judges_table(findings.analyses),
        comparisons.verdicts_table(findings.verdicts),
        rewards_table(findings.rewards),
    )
    return always + tuple(table for table in others if table.rows)


def csv_text(table: Table) -> str:
    """Return a table's CSV file: six decimals (p-values: six digits), text that never runs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in table.in_files])
    for row in table.rows:
        writer.writerow([_csv_cell(column, column.of(row)) for column in table.in_files])
    return file.getvalue()


def markdown_file(table: Table) -> str:
    """Return a table's Markdown file: the values of the CSV file, rounded for people."""
    heads = [inert(str(column.name)) for column in table.in_files]
    lines = [inert(table.caption), "", _row(heads), _row("---" for _ in heads)]
    lines += [_row(_file_cell(c, c.of(row)) for c in table.in_files) for row in table.rows]
    return "\n".join(lines) + "\n"


def markdown_table(table: Table) -> list[str]:
    """Return the lines of a table inside a page, with its title and note.

    What stands under a number goes behind it.
    """
    rules = ["---:" if column.is_number else "---" for column in table.on_page]
    lines = [f"**{inert(table.title)}**", ""] if table.title else []
    lines += [_row(map(inert, table.heads)), _row(rules)]
    lines += [_row(map(_page_cell, cells)) for cells in table.cells]
    return [*lines, "", inert(table.note), ""] if table.note else [*lines, ""]


def never_a_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def _csv_cell(column: Column, value: object) -> str:
    """Return a number with up to six decimals, text without controls."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(float(f"{value:.6g}") if _is_p(column) else round(value, 6) + 0.0)
    if isinstance(value, int):
        return str(value)
    return never_a_formula(_CONTROL.sub(" ", str(value)))


def _file_cell(column: Column, value: object) -> str:
    """Return a number with two decimals, a p-value with four digits."""
    if value is None:
        return "-"
    if isinstance(value, float) and _is_p(column):
        return f"{value:.4g}"
    if isinstance(value, float):
        # Halves are rounded away from zero, as in the published tables: 28.125 is 28.13.
        exact = Decimal(repr(round(value, 6)))
        return str(exact.quantize(Decimal("0.01"), ROUND_HALF_UP) + Decimal("0.00"))
    return str(value) if isinstance(value, int) else inert(str(value))


def _is_p(column: Column) -> bool:
    return str(column.name).startswith("p_")


def _page_cell(cell: Cell) -> str:
    text = inert(cell.text)
    if cell.kind and text:
        text = f"**{text}**"
    return f"{text} {inert(cell.detail)}".strip() if cell.detail else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
