"""Who does better on how many prompts: every model against every other."""

from __future__ import annotations

from alignstudy.analysis.results import Comparison
from alignstudy.metrics.figures import score_of
from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.matrix import Cells, draw_matrices
from alignstudy.plots.style import in_house_style


@in_house_style
def draw(data: FigureData) -> Plot:
    """Win rates: share of prompts on which one model scores higher than another, ties half."""
    found = {axis: data.comparisons(score_of(axis)) for axis in data.axes}
    items = [item for axis in data.axes for item in found[axis] if item.win_interval]
    if not items:
        raise NothingToShow("win rates: no two models were compared by their scores")
    cells = {axis: _cells(data, found[axis]) for axis in data.axes}
    return Plot(
        figure=draw_matrices(data.models, cells, most_beside=4, row=0.66),
        data=[
            estimate_row(
                item.win_interval, metric=item.metric, model=item.model, reference=item.reference
            )
            for item in items
        ],
        title="Win rates",
        caption=(
            "Percent of prompts on which the row's model has a higher score than the column's, ties"
            " counting half; columns have their rows' numbers. Blue: wins more often, orange:"
            " loses more often; * marks an interval without 50. In brackets, for"
            f" each pair by itself: {intervals_in_words(item.win_interval for item in items)}"
            f" Judge: {data.judge}."
        ),
    )


def _cells(data: FigureData, items: list[Comparison]) -> Cells:
    """Return each comparison twice: as it was made, and the other way round."""
    cells: Cells = {}
    for item in items:
        rate = item.win_interval
        if rate is not None:
            place = data.models.index(item.model), data.models.index(item.reference)
            cells[place] = _said(rate.value, rate.low, rate.high)
            cells[place[::-1]] = _said(100 - rate.value, 100 - rate.high, 100 - rate.low)
    return cells


def _said(value: float, low: float, high: float) -> tuple[str, float]:
    """Return the text and the strength of a cell."""
    mark = "" if low <= 50 <= high else "*"
    return f"{value:.0f}{mark}\n[{low:.0f}, {high:.0f}]", (value - 50) / 50
