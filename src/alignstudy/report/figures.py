"""Figures to files: each as PNG, as SVG, and its numbers as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.score_matrix import usable
from alignstudy.plots import FIGURES
from alignstudy.plots.base import FigureData, NothingToShow, Plot
from alignstudy.records import ScoredResponse
from alignstudy.records.evidence import TrainingRecord
from alignstudy.report.inputs import FigureFile

DPI = 144
SVG_DPI = 96
"""Of clouds of points, which are pictures within an SVG; all else in it has no resolution."""


def write_figures(
    findings: Findings,
    responses: Sequence[ScoredResponse],
    training: Sequence[TrainingRecord],
    folder: Path,
) -> tuple[FigureFile, ...]:
    """Draw every figure of the table and write `<name>.png`, `.svg` and `.csv` into a folder.

    The same input gives the same bytes. A figure that has nothing to show is left out.

    Args:
        findings: The leading judge's scores of `responses` are drawn, and what stands beside them.
        responses: Every response that was scored.
        training: What was trained; may be empty.
        folder: Made if it isn't there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = FigureData(findings=findings, responses=usable(responses)[0], training=training)
    files = []
    for name in FIGURES:
        try:
            plot = FIGURES.load(name)(data)
        except NothingToShow:
            continue
        files.append(_write(name, plot, folder))
    return tuple(files)


def _write(name: str, plot: Plot, folder: Path) -> FigureFile:
    """Write one figure's three files; no date, version or random id goes into them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from alignstudy.plots.style import house_style

    png, svg, table = (folder / f"{name}.{kind}" for kind in ("png", "svg", "csv"))
    with house_style():
        # Laid out once, and printed straight to each format: `savefig` would draw everything
        # twice a format, to lay it out and to paint it.
        plot.figure.set_dpi(DPI)
        layout = plot.figure.get_layout_engine()
        if layout is not None:
            layout.execute(plot.figure)
        plot.figure.set_layout_engine("none")
        FigureCanvasAgg(plot.figure).print_png(png, metadata={"Software": None})
        plot.figure.set_dpi(SVG_DPI)
        FigureCanvasSVG(plot.figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    _write_csv(table, plot.data)
    return FigureFile(
        name=name, title=plot.title, caption=plot.caption, png=png, svg=svg, csv=table
    )


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with a header; text that a spreadsheet would run as a formula is quoted."""
    header = list(rows[0]) if rows else []
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(row[name]) for name in header] for row in rows)


def _cell(value: object) -> object:
    """Keep a text from being taken for a formula."""
    if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")):
        return f"'{value}"
    return value
