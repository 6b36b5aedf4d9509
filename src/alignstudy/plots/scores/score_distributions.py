"""How the judge's scores are spread: the share of responses up to every score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from alignstudy.plots.base import AXIS_TITLES, FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    ModelStyle,
    add_legend,
    in_house_style,
    legend_height,
    model_style,
    new_figure,
    not_measured,
    threshold_line,
)
from alignstudy.records import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_STEPS = 500


@in_house_style
def draw(data: FigureData) -> Plot:
    """Score distributions: the share of responses up to every score, by model and axis."""
    rows = score_rows(data)
    if not rows:
        raise NothingToShow(f"score distributions: the judge {data.judge} gave no score")
    figure = new_figure(3.8 + legend_height(data.models))
    panels = figure.subplots(1, len(AXIS_TITLES), sharey=True)
    for axes, (axis, title) in zip(panels, AXIS_TITLES.items(), strict=True):
        axes.set(title=title, xlabel="score", ylim=(-2, 102))
        axes.grid(visible=True, axis="both")
        if not data.all_scores(axis):
            not_measured(axes)
            continue
        for place, model in enumerate(data.models):
            scores = [score for _, score in data.scores(axis, model)]
            shift = place / len(data.models)
            _draw_steps(axes, scores, model_style(data.models, model), shift)
        threshold_line(axes, data.thresholds.get(axis))
    panels[0].set_ylabel("percent of responses\nwith at most this score")
    add_legend(figure, {m: model_style(data.models, m) for m in data.models}, line=True)
    return Plot(figure=figure, data=rows, title="Score distributions", caption=_caption(data))


def score_rows(data: FigureData) -> list[dict[str, Any]]:
    """Return every score as a row: model, axis, prompt, seed, score."""
    return [
        {
            "axis": str(axis), "model": model, "seed": row.seed,
            "prompt_id": row.prompt_id, "score": score,
        }
        for axis in Axis
        for model in data.models
        for row, score in data.scores(axis, model)
    ]  # fmt: skip


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
        [ordered[0], *ordered[steps]], [0.0, *shares], where="post", color=style.colour,
        linewidth=1.8, marker=style.marker, markersize=6,
        markevery=(min(len(steps), round(shift * every)), every), zorder=3,
    )  # fmt: skip


def _caption(data: FigureData) -> str:
    """Return how to read the curves and where rates are on them."""
    counts = [len(data.scores(axis, model)) for axis in Axis for model in data.models]
    return (
        "Empirical distribution functions, nothing smoothed: a curve further right or below has"
        " higher scores. Dashed line: the threshold; the share of responses above it is what a"
        f" curve lacks to 100 there. Judge: {data.judge}; responses for each model and axis:"
        f" {numbers_of_prompts(n for n in counts if n)}."
    )
