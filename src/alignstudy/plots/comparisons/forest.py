"""Panels of estimates with their intervals, one row a model: shared by several figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignstudy.metrics.metric import Metric
from alignstudy.plots.base import FigureData, estimate_row
from alignstudy.plots.style import (
    INK,
    ModelStyle,
    draw_marker,
    label_rows,
    model_styles,
    new_figure,
    not_measured,
    row_height,
    wrap_label,
)
from alignstudy.records import Estimate

_ROW = 0.46
"""Least height of a row, inches: a marker and the number above it."""


def draw_by_model(
    data: FigureData, metrics: Sequence[Metric], **settings: object
) -> tuple[Figure, list[dict[str, Any]]]:
    """Draw metrics side by side, a row a model.

    Args:
        data: What the figure is drawn from.
        metrics: A panel each.
        settings: Of every panel, as `Axes.set` takes them.

    Returns:
        The figure, and its data.
    """
    height = 1.3 + len(data.models) * max(_ROW, row_height(data.models))
    figure = new_figure(height, num_columns=len(metrics))
    panels: Any = figure.subplots(1, len(metrics), sharey=True, squeeze=False).flatten()
    styles = list(model_styles(data.models).values())
    rows = []
    for axes, metric in zip(panels, metrics, strict=True):
        found = data.estimates(metric)
        rows += [
            estimate_row(item, metric=metric.name, model=model)
            for model, item in zip(data.models, found, strict=True)
        ]
        below = any(data.findings.is_below_floor(data.judge, axis) for axis in metric.axes)
        stamp = "\n(judge below floor)" if below else ""
        axes.set_title(f"{wrap_label(f'{metric.in_full[:1].upper()}{metric.in_full[1:]}')}{stamp}")
        axes.set(**settings)
        hollow = [below] * len(found)
        draw_estimates(axes, found, styles, digits=metric.digits, hollow=hollow)
        label_rows(axes, data.models)
    return figure, rows


def draw_estimates(
    axes: Axes,
    estimates: Sequence[Estimate | None],
    styles: Sequence[ModelStyle],
    *,
    digits: int,
    hollow: Sequence[bool] | None = None,
    signed: bool = False,
) -> None:
    """Draw a marker with whiskers and the number above it for each row; None leaves it empty.

    Rows that `hollow` marks get an open marker; `signed` writes a plus before positive numbers.
    """
    if all(estimate is None for estimate in estimates):
        not_measured(axes)
        return
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    for row, (estimate, style) in enumerate(zip(estimates, styles, strict=True)):
        if estimate is None:
            continue
        whiskers = [estimate.low, estimate.high]
        axes.plot(whiskers, [row] * 2, color=style.colour, lw=2.2, solid_capstyle="butt", zorder=3)
        draw_marker(axes, estimate.value, row, style, hollow=hollow is not None and hollow[row])
        axes.annotate(
            f"{estimate.value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212"),
            (estimate.value, row),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=10,
            color=INK,
            zorder=5,
            bbox=box,
        )
