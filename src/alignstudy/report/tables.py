"""Tables of an analysis, as CSV for machines and Markdown for people."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from alignstudy.records import Estimate
from alignstudy.report.results import Analysis, Comparison, ModelFigures

Cell = str | int | float | None

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_RATES = ("hmr", "hpr", "cas")


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
        """Give the table as CSV: numbers to six decimals, text that spreadsheets don't run."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_csv_cell(cell) for cell in row] for row in self.rows)
        return file.getvalue()

    def to_markdown(self) -> str:
        """Give the table as Markdown: numbers to two decimals, p-values to four digits."""
        lines = [_markdown_row(self.columns), "|" + " --- |" * len(self.columns)]
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            lines.append(_markdown_row(_markdown_cell(cell, name) for name, cell in cells))
        return f"{_markdown_text(self.title)}\n\n" + "\n".join(lines) + "\n"


def write_tables(analysis: Analysis, folder: Path) -> list[Path]:
    """Write every table as `<name>.csv` and `<name>.md`.

    Args:
        analysis: What `analyse` found.
        folder: Where to write; made if it isn't there.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables_of(analysis):
        for ending, text in ((".csv", table.to_csv()), (".md", table.to_markdown())):
            path = folder / (table.name + ending)
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
            written.append(path)
    return written


def tables_of(analysis: Analysis) -> tuple[Table, ...]:
    """Give all tables of an analysis: metrics, improvement, scores, comparisons."""
    return (
        metrics_table(analysis),
        improvement_table(analysis),
        scores_table(analysis),
        comparisons_table(analysis),
    )


def metrics_table(analysis: Analysis) -> Table:
    """Table 1 of the published study: HmR, HpR and CAS in percent, then intervals and counts."""
    ends = tuple(f"{rate}_{end}" for rate in _RATES for end in ("low", "high"))
    return Table(
        name="metrics",
        title="HmR, HpR and CAS in percent, with 95 % intervals",
        columns=("model", *_RATES, *ends, "n_harmless", "n_helpful"),
        rows=tuple(_metrics_row(figures) for figures in analysis.models),
    )


def _metrics_row(figures: ModelFigures) -> tuple[Cell, ...]:
    rates = (figures.hmr, figures.hpr, figures.cas)
    return (
        figures.model,
        *(_value(rate) for rate in rates),
        *(end for rate in rates for end in _ends(rate)),
        _n(figures.hmr),
        _n(figures.hpr),
    )


def improvement_table(analysis: Analysis) -> Table:
    """Table 2 of the published study: gain over the base, relative and in percentage points."""
    found = {(item.model, item.metric): item for item in analysis.improvements}
    models = dict.fromkeys(item.model for item in analysis.improvements)
    rows = []
    for model in models:
        gains = [found.get((model, rate)) for rate in _RATES]
        relative = [None if gain is None else gain.relative_percent for gain in gains]
        points = [None if gain is None else gain.points for gain in gains]
        rows.append((model, *relative, *points))
    title = f"Gain over {analysis.base}" if analysis.base else "Gain: no base model was named"
    return Table(
        name="improvement",
        title=f"{title}: relative, in percent of its rate, and in percentage points",
        columns=(
            "model",
            *(f"{rate}_relative_percent" for rate in _RATES),
            *(f"{rate}_points" for rate in _RATES),
        ),
        rows=tuple(rows),
    )


def scores_table(analysis: Analysis) -> Table:
    """Mean scores by prompt set, with intervals."""
    columns = ["model"]
    for axis in ("harmless", "helpful"):
        columns += [axis, f"{axis}_low", f"{axis}_high", f"n_{axis}"]
    return Table(
        name="scores",
        title=f"Mean scores of {analysis.judge} by prompt set, with 95 % intervals",
        columns=tuple(columns),
        rows=tuple(
            (figures.model, *_score_cells(figures.score_harmless, figures.score_helpful))
            for figures in analysis.models
        ),
    )


def _score_cells(*scores: Estimate | None) -> list[Cell]:
    return [cell for score in scores for cell in (_value(score), *_ends(score), _n(score))]


def comparisons_table(analysis: Analysis) -> Table:
    """Every pair of models in every metric, with paired tests."""
    return Table(
        name="comparisons",
        title="Paired comparisons: model minus reference, percentage points or score,"
        " with 95 % intervals; p_holm is adjusted within its family",
        columns=(
            "model",
            "reference",
            "metric",
            "difference",
            "low",
            "high",
            "p_value",
            "p_holm",
            "test",
            "wins",
            "losses",
            "ties",
            "n",
            "win_rate",
            "interval",
            "note",
        ),
        rows=tuple(_comparison_row(item) for item in analysis.comparisons),
    )


def _comparison_row(item: Comparison) -> tuple[Cell, ...]:
    return (
        item.model,
        item.reference,
        item.metric,
        item.difference.value,
        item.difference.low,
        item.difference.high,
        item.p_value,
        item.p_holm,
        item.test,
        item.wins,
        item.losses,
        item.ties,
        item.n,
        item.win_rate,
        item.difference.method,
        item.note,
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _ends(estimate: Estimate | None) -> tuple[float | None, float | None]:
    return (None, None) if estimate is None else (estimate.low, estimate.high)


def _n(estimate: Estimate | None) -> int | None:
    return None if estimate is None else estimate.n


def _csv_cell(cell: Cell) -> str:
    """Write a number as it is; an apostrophe keeps a spreadsheet from running text as a formula."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return repr(round(cell, 6) + 0.0)
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
