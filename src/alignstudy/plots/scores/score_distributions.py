"""How the judge's scores are spread: the share of responses up to every score."""

from __future__ import annotations

import numpy as np

from alignstudy.plots.base import FigureData, NothingToShow, Plot, columns
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    add_legend,
    draw_curve,
    legend_height,
    model_styles,
    not_measured,
    threshold_line,
)

_MOST_STEPS = 500


def draw(data: FigureData) -> Plot:
    """Score distributions: the share of responses up to every score, by model and axis."""
    rows = [
        columns(row, "axis", "model", "seed", "prompt_id") | {"score": score}
        for axis in data.axes
        for model in data.models
        for row, score in data.scores(axis, model)
    ]
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
            scores = np.sort([score for _, score in data.scores(axis, model)])
            if not scores.size:
                continue
            # Of many scores, steps too small to see are left out.
            spaced = np.linspace(0, scores.size - 1, min(scores.size, _MOST_STEPS))
            steps = np.unique(spaced.astype(int))
            every = max(1, len(steps) // 5)
            start = min(len(steps), round(place / len(styles) * every))
            draw_curve(
                axes,
                [scores[0], *scores[steps]],
                [0.0, *(100.0 * (steps + 1) / scores.size)],
                style,
                drawstyle="steps-post",
                markevery=(start, every),
            )
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
