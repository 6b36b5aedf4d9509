"""Mean score by model on each axis, with intervals."""

from __future__ import annotations

from alignstudy.plots.base import (
    SCORES,
    FigureData,
    NothingToShow,
    Plot,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.forest import draw_estimates
from alignstudy.plots.style import in_house_style, label_rows, model_style, new_figure, row_height


@in_house_style
def draw(data: FigureData) -> Plot:
    """Mean scores: the judge's mean score by model on each axis, with intervals."""
    if not any(
        estimate for metric in SCORES for estimate in data.estimates.get(metric, {}).values()
    ):
        raise NothingToShow("mean scores: no response has a score")
    figure = new_figure(1.1 + len(data.models) * max(0.55, row_height(data.models)))
    panels = figure.subplots(1, len(SCORES), sharey=True)
    styles = [model_style(data.models, model) for model in data.models]
    rows = []
    for axes, (metric, title) in zip(panels, SCORES.items(), strict=True):
        found = [data.estimates.get(metric, {}).get(model) for model in data.models]
        rows += [estimate_row(metric, m, e) for m, e in zip(data.models, found, strict=True)]
        axes.set(title=title, xlabel="score")
        axes.margins(x=0.1)
        draw_estimates(axes, found, styles, digits=2)
        label_rows(axes, data.models)
    return Plot(figure=figure, data=rows, title="Mean scores", caption=_caption(data))


def _caption(data: FigureData) -> str:
    """Say whose scores these are, of how many prompts."""
    found = [data.estimates.get(metric, {}).get(m) for metric in SCORES for m in data.models]
    return (
        f"Mean score that the judge {data.judge} gave, in its own unit; higher is better on both"
        f" axes. {intervals_in_words(found)}"
    )
