"""Each prompt's two scores, the base model's and another's: where a difference comes from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alignstudy.plots.base import FigureData, NothingToShow, Plot, axis_title, numbers_of_prompts
from alignstudy.plots.style import (
    MANY_POINTS,
    MUTED,
    draw_cloud,
    in_house_style,
    model_style,
    new_figure,
    not_measured,
    wrap_label,
)
from alignstudy.records import Axis

_COLUMNS = 4
_Pairs = dict[tuple[Axis, str], tuple[list[str], NDArray[np.float64]]]
"""(axis, model) -> ids of prompts, and the scores of the reference and of the model."""


@in_house_style
def draw(data: FigureData) -> Plot:
    """Paired scores: each prompt's score of the base model against that of each other model."""
    pairs: _Pairs = {
        (axis, model): data.paired(axis, model) for axis in data.axes for model in data.compared
    }
    if not any(ids for ids, _ in pairs.values()):
        raise NothingToShow("paired scores: no two models have a score on the same prompt")
    alone = len(data.compared) == 1
    num_columns = max(len(data.axes) if alone else 2, min(_COLUMNS, len(data.compared)))
    rows_an_axis = math.ceil(len(data.compared) / num_columns)
    num_rows = 1 if alone else len(data.axes) * rows_an_axis
    lines = max(wrap_label(model).count("\n") for model in data.compared)
    figure = new_figure(0.3 + num_rows * (0.35 + 0.17 * lines + 8.6 / num_columns))
    grid: Any = figure.subplots(num_rows, num_columns, squeeze=False)
    parts = np.split(grid, len(data.axes), axis=1 if alone else 0)
    for axis, panels in zip(data.axes, parts, strict=True):
        _draw_axis(panels, data, pairs, axis)
    return Plot(
        figure=figure,
        data=_rows(data, pairs),
        title=f"Scores prompt by prompt, against {data.reference}",
        caption=_caption(data, pairs),
    )


def _draw_axis(panels: NDArray[Any], data: FigureData, pairs: _Pairs, axis: Axis) -> None:
    """Draw the panels of one axis on one scale."""
    low, high = _span([both for model in data.compared if (both := pairs[axis, model][1]).size])
    num_columns = panels.shape[1]
    for number, axes in enumerate(panels.flatten()):
        if number >= len(data.compared):
            axes.set_axis_off()
            continue
        model = data.compared[number]
        axes.set_title(wrap_label(model), fontsize=12 if len(data.compared) < _COLUMNS else 9.5)
        _set_scales(axes, low, high)
        axes.tick_params(
            labelleft=number % num_columns == 0,
            labelbottom=number + num_columns >= len(data.compared),
        )
        _, both = pairs[axis, model]
        if both.size:
            _draw_panel(axes, data, both, axis, model)
        else:
            not_measured(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{axis_title(axis)}:\nthe model's score")
    for axes in panels[-1]:
        axes.set_xlabel(f"score of {wrap_label(data.reference)}")


def _set_scales(axes: Axes, low: float, high: float) -> None:
    """Set for both directions the same limits and ticks."""
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(visible=True, axis="both")


def _span(scores: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the limits of both scales: all scores with room at the ends."""
    if not scores:
        return 0.0, 1.0
    low = min(float(found.min()) for found in scores)
    high = max(float(found.max()) for found in scores)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _draw_panel(
    axes: Axes, data: FigureData, both: NDArray[np.float64], axis: Axis, model: str
) -> None:
    """Draw one model's points about the diagonal, the thresholds, and how many lie above."""
    axes.axline((0, 0), slope=1, color=MUTED, linewidth=1.0, zorder=2)
    threshold = data.threshold(axis)
    if threshold is not None:
        dashes: dict[str, Any] = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (4, 3))}
        axes.axvline(threshold, zorder=2, **dashes)
        axes.axhline(threshold, zorder=2, **dashes)
    many, style = both.shape[1] > MANY_POINTS, model_style(data.models, model)
    draw_cloud(axes, both[0], both[1], style, many=many, alpha=0.6)
    above, below = int((both[1] > both[0]).sum()), int((both[1] < both[0]).sum())
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    for x, y, text in ((0.04, 0.96, f"\u25b2 {above}"), (0.96, 0.04, f"\u25bc {below}")):
        axes.text(
            x,
            y,
            text,
            transform=axes.transAxes,
            fontsize=10,
            bbox=box,
            zorder=5,
            ha="left" if x < 0.5 else "right",
            va="top" if y > 0.5 else "bottom",
        )


def _rows(data: FigureData, pairs: _Pairs) -> list[dict[str, Any]]:
    """Return all pairs as rows of the figure's data."""
    return [
        {
            "axis": axis.name,
            "model": model,
            "reference": data.reference,
            "prompt_id": prompt,
            "reference_score": first,
            "model_score": second,
        }
        for (axis, model), (ids, both) in pairs.items()
        for prompt, first, second in zip(ids, *both.tolist(), strict=True)
    ]


def _caption(data: FigureData, pairs: _Pairs) -> str:
    """Return what a point is, and what the two numbers count."""
    counts = (len(ids) for ids, _ in pairs.values() if ids)
    return (
        f"Each point is one prompt: the score of {data.reference}'s response against that of the"
        " named model's (means over training seeds). Above the diagonal the model scores higher:"
        " \u25b2 counts these prompts, \u25bc those below. Dashed lines: thresholds. No interval"
        f" is drawn. Judge: {data.judge}; prompts a panel: {numbers_of_prompts(counts)}."
    )
