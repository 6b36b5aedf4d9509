"""A histogram of scores for each model and axis."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from alignstudy.plots.base import AXIS_TITLES, FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    in_house_style,
    model_style,
    new_figure,
    not_measured,
    row_height,
    threshold_line,
    wrap_label,
)
from alignstudy.records import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUM_BINS = 20


@in_house_style
def draw(data: FigureData) -> Plot:
    """Score histograms: a panel for each model and axis on shared bins."""
    if not any(data.all_scores(axis) for axis in Axis):
        raise NothingToShow(f"score histograms: the judge {data.judge} gave no score")
    num_rows = len(data.models)
    figure = new_figure(0.9 + num_rows * max(1.05, row_height(data.models)))
    panels = figure.subplots(num_rows, len(AXIS_TITLES), sharex="col", sharey="col", squeeze=False)
    rows = []
    for column, (axis, title) in enumerate(AXIS_TITLES.items()):
        edges = _edges(data.all_scores(axis))
        panels[0, column].set_title(title)
        panels[-1, column].set_xlabel("score")
        for model, axes in zip(data.models, panels[:, column], strict=False):
            rows += _draw_panel(axes, data, axis, model, edges)
    for model, axes in zip(data.models, panels[:, 0], strict=False):
        axes.set_ylabel(wrap_label(model), rotation=0, ha="right", va="center", labelpad=12)
    return Plot(figure=figure, data=rows, title="Score histograms", caption=_caption(data))


def _edges(scores: list[float]) -> list[float]:
    """Cut the range of scores into equal bins; a bin of width 1 around a single value."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    if low == high:
        return [low - 0.5, low + 0.5]
    return [low + (high - low) * i / _NUM_BINS for i in range(_NUM_BINS)] + [high]


def _draw_panel(
    axes: Axes, data: FigureData, axis: Axis, model: str, edges: list[float]
) -> list[dict[str, Any]]:
    """Draw one histogram; give its bins."""
    from matplotlib.ticker import MaxNLocator

    scores = [score for _, score in data.scores(axis, model)]
    if not scores:
        not_measured(axes)
        axes.set_yticks([])
        return []
    colour = model_style(data.models, model).colour
    counts, _ = np.histogram(scores, bins=edges)
    axes.stairs(counts, edges, fill=True, color=colour)
    axes.grid(visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(axis="y", labelsize=10)
    threshold_line(axes, data.thresholds.get(axis), over=True)
    return [
        {
            "axis": str(axis), "model": model, "bin_low": low, "bin_high": high,
            "responses": int(count),
        }
        for (low, high), count in zip(pairwise(edges), counts, strict=True)
    ]  # fmt: skip


def _caption(data: FigureData) -> str:
    """Say what is counted."""
    counts = [len(data.scores(axis, model)) for axis in Axis for model in data.models]
    return (
        f"Number of responses by the score of the judge {data.judge}, in {_NUM_BINS} equal bins an"
        " axis. Dashed line: the threshold above which a response counts. Responses for each model"
        f" and axis: {numbers_of_prompts(n for n in counts if n)}."
    )
