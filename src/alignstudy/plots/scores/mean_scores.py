"""Mean score by model on each axis, with intervals."""

from __future__ import annotations

from alignstudy.plots.base import (
    AXIS_TITLES,
    SCORE_OF,
    FigureData,
    NothingToShow,
    Plot,
    intervals_in_words,
)
from alignstudy.plots.comparisons.forest import draw_by_model


def draw(data: FigureData) -> Plot:
    """Mean scores: the judge's mean score by model on each axis, with intervals."""
    found = [estimate for metric in SCORE_OF.values() for estimate in data.estimates(metric)]
    if not any(found):
        raise NothingToShow("mean scores: no response has a score")
    titles = {SCORE_OF[axis]: f"Mean score, {AXIS_TITLES[axis].lower()}" for axis in AXIS_TITLES}
    figure, rows = draw_by_model(data, titles, digits=2, xlabel="score", xmargin=0.1)
    return Plot(
        figure=figure,
        data=rows,
        title="Mean scores",
        caption=(
            f"Mean score that the judge {data.judge} gave, in its own unit; higher is better on"
            f" both axes. {intervals_in_words(found)}"
        ),
    )
