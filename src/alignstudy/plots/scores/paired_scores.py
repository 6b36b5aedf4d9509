"""Each prompt's two scores, the base model's and another's: where a difference comes from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alignstudy.plots.base import FigureData, NothingToShow, Plot, axis_title, numbers_of_prompts
from alignstudy.plots.style import (
    MANY_POINTS,
    MUTED,
    draw_cloud,
    model_style,
    new_figure,
    not_measured,
    wrap_label,
)
from alignstudy.records import Axis

_COLUMNS = 4
_Pairs = dict[tuple[Axis, str], tuple[list[str], NDArray[np.float64]]]
"""(axis, model) -> ids of prompts, and the scores of the reference and of the model."""


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
        data=[
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
        ],
        title=f"Scores prompt by prompt, against {data.reference}",
        caption=(
            f"Each point is one prompt: the score of {data.reference}'s response against that of"
            " the named model's (means over training seeds). Above the diagonal the model scores"
            " higher: \u25b2 counts these prompts, \u25bc those below. Dashed lines: thresholds. No"
            f" interval is drawn. Judge: {data.judge}; prompts a panel:"
            f" {numbers_of_prompts(len(ids) for ids, _ in pairs.values() if ids)}."
        ),
    )


def _draw_axis(panels: NDArray[Any], data: FigureData, pairs: _Pairs, axis: Axis) -> None:
    """Draw the panels of one axis on one scale: points about the diagonal, and how many above."""
    scores = np.concatenate([pairs[axis, model][1].ravel() for model in data.compared])
    low, high = (float(scores.min()), float(scores.max())) if scores.size else (0.5, 0.5)
    room = 0.06 * (high - low) or 0.5
    low, high = low - room, high + room
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    threshold, num_columns = data.threshold(axis), panels.shape[1]
    dashes: dict[str, Any] = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (4, 3))}
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    for number, axes in enumerate(panels.flatten()):
        if number >= len(data.compared):
            axes.set_axis_off()
            continue
        model = data.compared[number]
        axes.set_title(wrap_label(model), fontsize=12 if len(data.compared) < _COLUMNS else 9.5)
        axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1, xticks=ticks, yticks=ticks)
        axes.grid(visible=True, axis="both")
        axes.tick_params(
            labelleft=number % num_columns == 0,
            labelbottom=number + num_columns >= len(data.compared),
        )
        _, (ours, theirs) = pairs[axis, model]
        if not ours.size:
            not_measured(axes)
            continue
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=1.0, zorder=2)
        if threshold is not None:
            axes.axvline(threshold, zorder=2, **dashes)
            axes.axhline(threshold, zorder=2, **dashes)
        many, style = ours.size > MANY_POINTS, model_style(data.models, model)
        draw_cloud(axes, ours, theirs, style, many=many, alpha=0.6)
        text: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 10, "zorder": 5}
        above, below = f"\u25b2 {(theirs > ours).sum()}", f"\u25bc {(theirs < ours).sum()}"
        axes.text(0.04, 0.96, above, ha="left", va="top", bbox=box, **text)
        axes.text(0.96, 0.04, below, ha="right", va="bottom", bbox=box, **text)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{axis_title(axis)}:\nthe model's score")
    for axes in panels[-1]:
        axes.set_xlabel(f"score of {wrap_label(data.reference)}")
