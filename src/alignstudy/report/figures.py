"""Figures to files: each as PNG, as SVG, and its numbers as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignstudy.plots import FIGURES
from alignstudy.plots.base import RATES, SCORES, Curve, Difference, FigureData, Plot
from alignstudy.records import Axis, ScoredResponse
from alignstudy.report.analysis import Analysis, Comparison
from alignstudy.report.answer import ALPHA
from alignstudy.report.inputs import FigureFile, TrainingRecord

DPI = 144


def write_figures(
    analysis: Analysis,
    responses: Sequence[ScoredResponse],
    training: Sequence[TrainingRecord],
    folder: Path,
) -> tuple[FigureFile, ...]:
    """Draw every figure of the table and write `<name>.png`, `.svg` and `.csv` into a folder.

    The same input gives the same bytes. Training curves are left out where nothing was trained.

    Args:
        analysis: The figures of one judge; its scores of `responses` are drawn.
        responses: Every response that was scored.
        training: What was trained; may be empty.
        folder: Made if it isn't there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = figure_data(analysis, responses, training)
    names = [name for name in FIGURES if data.curves or name != "training_curves"]
    return tuple(_write(name, FIGURES.load(name)(data), folder) for name in names)


def figure_data(
    analysis: Analysis, responses: Sequence[ScoredResponse], training: Sequence[TrainingRecord]
) -> FigureData:
    """Gather what figures are drawn from."""
    thresholds = analysis.thresholds
    return FigureData(
        judge=analysis.judge,
        models=tuple(model.model for model in analysis.models),
        base=analysis.base,
        estimates={
            metric: {model.model: getattr(model, metric) for model in analysis.models}
            for metric in (*RATES, *SCORES)
        },
        differences=tuple(_difference(item) for item in analysis.comparisons),
        responses=responses,
        thresholds={Axis.HARMLESS: thresholds.harmless, Axis.HELPFUL: thresholds.helpful},
        curves=curves(training),
    )


def curves(training: Sequence[TrainingRecord]) -> tuple[Curve, ...]:
    """Give the logged curves; labels name the seed only where there are several."""
    several = len({record.seed for record in training}) > 1
    return tuple(
        Curve(
            label=f"{record.recipe} (seed {record.seed})" if several else record.recipe,
            method=record.method,
            points=record.curve,
        )
        for record in training
        if record.curve
    )


def _difference(item: Comparison) -> Difference:
    """Give a comparison as figures draw it."""
    return Difference(
        metric=item.metric,
        model=item.model,
        reference=item.reference,
        estimate=item.difference,
        p_value=item.p_holm,
        shown=item.p_holm is not None and item.p_holm < ALPHA,
    )


def _write(name: str, plot: Plot, folder: Path) -> FigureFile:
    """Write one figure's three files; no date, version or random id goes into them."""
    from alignstudy.plots.style import house_style

    png, svg, table = (folder / f"{name}.{kind}" for kind in ("png", "svg", "csv"))
    with house_style():
        # Lay out once: else each file format would do so again, which is half of the time.
        plot.figure.draw_without_rendering()
        plot.figure.set_layout_engine("none")
        plot.figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
        plot.figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
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
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
