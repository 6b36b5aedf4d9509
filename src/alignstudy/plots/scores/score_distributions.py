"""How the judge's scores are spread: the share of responses up to every score."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alignstudy.plots.base import FigureData, NothingToShow, Plot
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    ModelStyle,
    add_legend,
    in_house_style,
    legend_height,
    model_styles,
    not_measured,
    threshold_line,
)

_MOST_STEPS = 500


@in_house_style
def draw(data: FigureData) -> Plot:
    """Score distributions: the share of responses up to every score, by model and axis."""
    rows = _rows(data)
    if not rows:
        raise NothingToShow(f"score distributions: the judge {data.judge} gave no score")
    figure, panels = axis_panels(data.axes, 3.8 + legend_height(data.models), sharey=True)
    styles = model_styles(data.models)
    for axis, axes in panels.items():
        axes.set(xlabel="score", ylim=(-2, 102))
        if not data.all_scores(axis):
            not_measured(axes)
            continue
        for place, (model, style) in enumerate(styles.items()):
            scores = [score for _, score in data.scores(axis, model)]
            _draw_steps(axes, scores, style, shift=place / len(styles))
        threshold_line(axes, data.threshold(axis))
    next(iter(panels.values())).set_ylabel("percent of responses\nwith at most this score")
    add_legend(figure, styles, line=True)
    return Plot(
        figure=figure,
        data=rows,
        title="Score distributions",
        caption=(
            "Empirical distribution functions, nothing smoothed: a curve further right or below has"
            " higher scores. Dashed line: the threshold; the share of responses above it is what a"
            f" curve lacks to 100 there. Judge: {data.judge}; responses for each model and axis:"
            f" {data.numbers_of_scores()}."
        ),
    )


def _rows(data: FigureData) -> list[dict[str, Any]]:
    """Return every score as a row of the figure's data."""
    return [
        {
            "axis": axis.name,
            "model": model,
            "seed": row.seed,
            "prompt_id": row.prompt_id,
            "score": score,
        }
        for axis in data.axes
        for model in data.models
        for row, score in data.scores(axis, model)
    ]


def _draw_steps(axes: Axes, scores: list[float], style: ModelStyle, shift: float) -> None:
    """Draw one empirical distribution function; of many scores, steps too small to see go."""
    if not scores:
        return
    ordered = np.sort(scores)
    number = len(ordered)
    steps = np.unique(np.linspace(0, number - 1, min(number, _MOST_STEPS)).astype(int))
    shares = 100.0 * (steps + 1) / number
    every = max(1, len(steps) // 5)
    axes.step(
        [ordered[0], *ordered[steps]],
        [0.0, *shares],
        where="post",
        color=style.colour,
        linewidth=1.8,
        marker=style.marker,
        markersize=6,
        markevery=(min(len(steps), round(shift * every)), every),
        zorder=3,
    )
