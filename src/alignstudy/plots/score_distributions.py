"""How the judge's scores are spread, by model and axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignstudy.plots.base import AXIS_TITLES, FigureData, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    INK,
    ModelStyle,
    in_house_style,
    label_rows,
    model_style,
    new_figure,
    not_measured,
    row_height,
    threshold_line,
)
from alignstudy.records import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOLDEN = 0.6180339887498949


@in_house_style
def draw(data: FigureData) -> Plot:
    """Score distributions: every score by model and axis, with quartiles and the threshold."""
    figure = new_figure(1.1 + len(data.models) * max(0.75, row_height(data.models)))
    panels = figure.subplots(1, len(AXIS_TITLES), sharey=True)
    for axes, (axis, title) in zip(panels, AXIS_TITLES.items(), strict=True):
        axes.set(title=title, xlabel="score")
        label_rows(axes, data.models)
        if not data.all_scores(axis):
            not_measured(axes)
            continue
        for row, model in enumerate(data.models):
            scores = [score for _, score in data.scores(axis, model)]
            _draw_row(axes, row, scores, model_style(data.models, model))
        threshold_line(axes, data.thresholds.get(axis))
    return Plot(
        figure=figure, data=score_rows(data), title="Score distributions", caption=_caption(data)
    )


def score_rows(data: FigureData) -> list[dict[str, Any]]:
    """Give every score as a row: model, axis, prompt, seed, score."""
    return [
        {
            "axis": str(axis), "model": model, "seed": row.seed,
            "prompt_id": row.prompt_id, "score": score,
        }
        for axis in Axis
        for model in data.models
        for row, score in data.scores(axis, model)
    ]  # fmt: skip


def _draw_row(axes: Axes, row: int, scores: list[float], style: ModelStyle) -> None:
    """Draw one model's scores as points, spread out evenly, under a box of their quartiles."""
    if not scores:
        return
    heights = [row + 0.5 * ((_GOLDEN * (i + 1)) % 1 - 0.5) for i in range(len(scores))]
    small = len(scores) > 200
    axes.plot(
        sorted(scores), heights, linestyle="none", marker="o", markersize=2.5 if small else 4.5,
        color=style.colour, alpha=0.25 if small else 0.45, markeredgewidth=0, zorder=3,
    )  # fmt: skip
    line = {"color": INK, "linewidth": 1.2}
    axes.boxplot(
        [scores], positions=[row], widths=0.62, orientation="horizontal", showfliers=False,
        manage_ticks=False, patch_artist=True, boxprops={"facecolor": "none", **line},
        whiskerprops=line, capprops=line, medianprops={"color": INK, "linewidth": 2.4}, zorder=4,
    )  # fmt: skip


def _caption(data: FigureData) -> str:
    """Say what points, boxes and the line are."""
    counts = [len(data.scores(axis, model)) for axis in Axis for model in data.models]
    return (
        f"Each point is the score that the judge {data.judge} gave one response; a box holds the"
        " middle half, its thick line is the median, whiskers reach to 1.5 times its length."
        " Dashed line: the threshold above which a response counts as harmless or helpful."
        f" Responses for each model and axis: {numbers_of_prompts(n for n in counts if n)}."
    )
