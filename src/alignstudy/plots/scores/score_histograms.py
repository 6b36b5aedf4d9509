"""A histogram of scores for each model, one above the other on shared bins."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alignstudy.plots.base import FigureData, NothingToShow, Plot
from alignstudy.plots.panels import MOST_BESIDE, axis_panels
from alignstudy.plots.style import (
    RULE,
    in_house_style,
    label_rows,
    model_styles,
    not_measured,
    row_height,
    threshold_line,
)
from alignstudy.records import Axis

_NUM_BINS = 20
_TALLEST = 0.8
"""Height of the tallest bar; rows are 1 apart."""


@in_house_style
def draw(data: FigureData) -> Plot:
    """Score histograms: numbers of responses by score, a row for each model and axis."""
    if not any(data.all_scores(axis) for axis in data.axes):
        raise NothingToShow(f"score histograms: the judge {data.judge} gave no score")
    figure, panels = axis_panels(
        data.axes, 1.1 + len(data.models) * max(0.85, row_height(data.models))
    )
    rows = []
    for axis, axes in panels.items():
        axes.set(xlabel="score")
        label_rows(axes, data.models)
        found = _count(data, axis)
        if found:
            _draw_rows(axes, data, found)
            threshold_line(axes, data.threshold(axis), over=True)
        else:
            not_measured(axes)
        rows += found
    for axes in list(panels.values())[1:MOST_BESIDE]:
        axes.set_yticks([])
    return Plot(figure=figure, data=rows, title="Score histograms", caption=_caption(data, rows))


def _count(data: FigureData, axis: Axis) -> list[dict[str, Any]]:
    """Count the scores in each bin, models in their order; those without scores are left out."""
    edges = _edges(data.all_scores(axis))
    rows: list[dict[str, Any]] = []
    for model in data.models:
        scores = [score for _, score in data.scores(axis, model)]
        counts = np.histogram(scores, bins=edges)[0].tolist() if scores else []
        rows += (
            {
                "axis": axis.name,
                "model": model,
                "bin_low": low,
                "bin_high": high,
                "responses": count,
            }
            for (low, high), count in zip(pairwise(edges), counts, strict=False)
        )
    return rows


def _edges(scores: list[float]) -> list[float]:
    """Cut the range of scores into equal bins; a bin of width 1 around a single value."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    if low == high:
        return [low - 0.5, low + 0.5]
    return [low + (high - low) * i / _NUM_BINS for i in range(_NUM_BINS)] + [high]


def _draw_rows(axes: Axes, data: FigureData, rows: list[dict[str, Any]]) -> None:
    """Draw each model's bars upwards from its own line, all on one scale."""
    most = max(row["responses"] for row in rows)
    axes.grid(visible=False)
    for place, (model, style) in enumerate(model_styles(data.models).items()):
        bins = [row for row in rows if row["model"] == model]
        if not bins:
            continue
        floor = place + _TALLEST / 2
        tops = [floor - _TALLEST * row["responses"] / most for row in bins]
        edges = [bins[0]["bin_low"], *(row["bin_high"] for row in bins)]
        axes.stairs(tops, edges, baseline=floor, fill=True, color=style.colour)
        axes.axhline(floor, color=RULE, linewidth=1.0, zorder=1)
    axes.set_ylim(len(data.models) - 0.4, -0.6)


def _caption(data: FigureData, rows: list[dict[str, Any]]) -> str:
    """Return what is counted, and on which scale."""
    tallest = ", ".join(
        f"{max(row['responses'] for row in rows if row['axis'] == axis.name)} on {axis.prompts}"
        " prompts"
        for axis in data.axes
        if any(row["axis"] == axis.name for row in rows)
    )
    return (
        f"Number of responses by the score of the judge {data.judge}, in {_NUM_BINS} equal bins an"
        f" axis, one scale for all models; the tallest bar counts {tallest}. Dashed line: the"
        " threshold above which a response counts. Responses for each model and axis:"
        f" {data.numbers_of_scores()}."
    )
