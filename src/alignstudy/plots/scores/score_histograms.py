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
    label_rows,
    model_styles,
    not_measured,
    row_height,
    threshold_line,
)

_NUM_BINS = 20
_TALLEST = 0.8
"""Height of the tallest bar; rows are 1 apart."""


def draw(data: FigureData) -> Plot:
    """Score histograms: numbers of responses by score, a row for each model and axis."""
    if not any(data.all_scores(axis) for axis in data.axes):
        raise NothingToShow(f"score histograms: the judge {data.judge} gave no score")
    figure, panels = axis_panels(
        data.axes, 1.1 + len(data.models) * max(0.85, row_height(data.models))
    )
    rows, tallest = [], []
    for axis, axes in panels.items():
        axes.set(xlabel="score")
        label_rows(axes, data.models)
        edges = _edges(data.all_scores(axis))
        found = [
            {
                "axis": axis.name,
                "model": model,
                "bin_low": low,
                "bin_high": high,
                "responses": count,
            }
            for model in data.models
            if (scores := [score for _, score in data.scores(axis, model)])
            for (low, high), count in zip(
                pairwise(edges), np.histogram(scores, bins=edges)[0].tolist(), strict=True
            )
        ]
        if found:
            most = max(row["responses"] for row in found)
            _draw_rows(axes, data, found, most)
            threshold_line(axes, data.threshold(axis), over=True)
            tallest.append(f"{most} on {axis.prompts} prompts")
        else:
            not_measured(axes)
        rows += found
    for axes in list(panels.values())[1:MOST_BESIDE]:
        axes.set_yticks([])
    return Plot(
        figure=figure,
        data=rows,
        title="Score histograms",
        caption=(
            f"Number of responses by the score of the judge {data.judge}, in {_NUM_BINS} equal bins"
            " an axis, one scale for all models; the tallest bar counts"
            f" {', '.join(tallest)}. Dashed line: the threshold above which a response counts."
            f" Responses for each model and axis: {data.numbers_of_scores()}."
        ),
    )


def _edges(scores: list[float]) -> list[float]:
    """Cut the range of scores into equal bins; a bin of width 1 around a single value."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    if low == high:
        return [low - 0.5, low + 0.5]
    return [low + (high - low) * i / _NUM_BINS for i in range(_NUM_BINS)] + [high]


def _draw_rows(axes: Axes, data: FigureData, rows: list[dict[str, Any]], most: int) -> None:
    """Draw each model's bars upwards from its own line, all on one scale."""
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
