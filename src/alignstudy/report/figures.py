"""Figures to files: each as PNG, as SVG, and its numbers as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.score_matrix import usable
from alignstudy.plots import FIGURES
from alignstudy.plots.base import FigureData, NothingToShow
from alignstudy.records import ScoredResponse
from alignstudy.records.evidence import TrainingRecord
from alignstudy.report.inputs import FigureFile
from alignstudy.report.tables.write import never_a_formula

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from alignstudy.plots.style import NARROW, house_style

    folder.mkdir(parents=True, exist_ok=True)
    data = FigureData(findings=findings, responses=usable(responses)[0], training=training)
    files = []
    for name in FIGURES:
        with house_style():
            try:
                plot = FIGURES.load(name)(data)
            except NothingToShow:
                continue
            png, svg, table = (folder / f"{name}.{kind}" for kind in ("png", "svg", "csv"))
            # Laid out once, and printed straight to each format: `savefig` would draw everything
            # twice a format, to lay it out and to paint it. No date, version or random id goes in.
            plot.figure.set_dpi(DPI)
            layout = plot.figure.get_layout_engine()
            if layout is not None:
                layout.execute(plot.figure)
            plot.figure.set_layout_engine("none")
            FigureCanvasAgg(plot.figure).print_png(png, metadata={"Software": None})
            plot.figure.set_dpi(SVG_DPI)
            FigureCanvasSVG(plot.figure).print_svg(svg, metadata={"Date": None, "Creator": None})
        with table.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(plot.data[0] if plot.data else [])
            writer.writerows(
                [never_a_formula(v) if isinstance(v, str) else v for v in row.values()]
                for row in plot.data
            )
        texts = {"title": plot.title, "caption": plot.caption}
        wide = plot.figure.get_figwidth() > NARROW
        files.append(FigureFile(name=name, **texts, png=png, svg=svg, csv=table, is_wide=wide))
    return tuple(files)
