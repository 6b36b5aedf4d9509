"""Mean score by model on each axis, with intervals."""

from __future__ import annotations

from alignstudy.plots.base import FigureData, NothingToShow, Plot, intervals_in_words
from alignstudy.plots.comparisons.forest import draw_by_model


def draw(data: FigureData) -> Plot:
    """Mean scores: the judge's mean score by model on each axis, with intervals."""
    scores = [score for score in data.analysis.scores if any(data.estimates(score))]
    found = [estimate for metric in scores for estimate in data.estimates(metric)]
    if not any(found):
        raise NothingToShow("mean scores: no response has a score")
    figure, rows = draw_by_model(data, scores, xlabel="score", xmargin=0.1)
    return Plot(
        figure=figure,
        data=rows,
        title="Mean scores",
        caption=(
            f"Mean score that the judge {data.judge} gave, in its own unit; higher is"
            f" better on every axis. {intervals_in_words(found)}"
        ),
    )
