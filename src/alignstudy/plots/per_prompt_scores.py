"""Scores prompt by prompt: how much of the spread is the prompt, how much the model."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from alignstudy.plots.base import AXIS_TITLES, FigureData, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    RULE,
    in_house_style,
    model_style,
    new_figure,
    not_measured,
    threshold_line,
    wrap_label,
)
from alignstudy.records import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEGEND_COLUMNS = 4


@in_house_style
def draw(data: FigureData) -> Plot:
    """Per-prompt scores: every model's score on each prompt, easiest prompts last."""
    figure = new_figure(7.0 + 0.4 * (len(data.models) // _LEGEND_COLUMNS))
    panels = figure.subplots(len(AXIS_TITLES), 1)
    rows = []
    for axes, (axis, title) in zip(panels, AXIS_TITLES.items(), strict=True):
        axes.set(title=title, ylabel="score", xlabel="prompts, by their mean score over the models")
        table = _scores_by_prompt(data, axis)
        if not table:
            not_measured(axes)
            axes.set_yticks([])
            continue
        order = sorted(table, key=lambda prompt: (fmean(table[prompt].values()), prompt))
        _draw_panel(axes, data, [table[prompt] for prompt in order])
        threshold_line(axes, data.thresholds.get(axis), vertical=False)
        rows += [
            {"axis": str(axis), "rank": rank, "prompt_id": prompt, "model": model, "score": score}
            for rank, prompt in enumerate(order, start=1)
            for model, score in table[prompt].items()
        ]
    _add_legend(figure, data)
    return Plot(figure=figure, data=rows, title="Scores prompt by prompt", caption=_caption(data))


def _scores_by_prompt(data: FigureData, axis: Axis) -> dict[str, dict[str, float]]:
    """Give prompt -> model -> score, averaged over training seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for model in data.models:
        for row, score in data.scores(axis, model):
            found.setdefault(row.prompt_id, {}).setdefault(model, []).append(score)
    return {
        prompt: {model: fmean(scores) for model, scores in by_model.items()}
        for prompt, by_model in found.items()
    }


def _draw_panel(axes: Axes, data: FigureData, table: list[dict[str, float]]) -> None:
    """Draw one axis: a grey line from the lowest to the highest score, a marker a model."""
    small = len(table) > 120
    axes.vlines(
        range(1, len(table) + 1),
        [min(scores.values()) for scores in table],
        [max(scores.values()) for scores in table],
        color=RULE, linewidth=0.6 if small else 1.6, zorder=1,
    )  # fmt: skip
    for model in data.models:
        style = model_style(data.models, model)
        points = [(i, s[model]) for i, s in enumerate(table, start=1) if model in s]
        axes.plot(
            [x for x, _ in points], [y for _, y in points], linestyle="none",
            marker=style.marker, markersize=3 if small else 5.5, color=style.colour,
            markeredgecolor="white", markeredgewidth=0.3, alpha=0.85, zorder=3,
        )  # fmt: skip
    axes.grid(visible=False, axis="x")
    axes.grid(visible=True, axis="y")
    axes.set_xlim(0, len(table) + 1)


def _add_legend(figure: object, data: FigureData) -> None:
    """Put the models' markers above the panels."""
    from matplotlib.lines import Line2D

    styles = [model_style(data.models, model) for model in data.models]
    handles = [
        Line2D([], [], linestyle="none", marker=s.marker, color=s.colour, markersize=7)
        for s in styles
    ]
    labels = [wrap_label(model) for model in data.models]
    figure.legend(  # type: ignore[attr-defined]
        handles, labels, loc="outside upper left", ncols=min(_LEGEND_COLUMNS, len(labels) or 1)
    )


def _caption(data: FigureData) -> str:
    """Say what a column is."""
    counts = [len(_scores_by_prompt(data, axis)) for axis in Axis]
    return (
        "Each column is one prompt, its markers the models' scores (mean over training seeds), the"
        " grey line their range; prompts are ordered by their mean score. Dashed line: threshold."
        f" Judge: {data.judge}; prompts an axis: {numbers_of_prompts(n for n in counts if n)}."
    )
