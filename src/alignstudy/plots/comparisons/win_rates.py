"""Who does better on how many prompts: every model against every other."""

from __future__ import annotations

from alignstudy.metrics.figures import score_of
from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    columns,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.matrix import Cells, draw_matrices
from alignstudy.records import Axis


def draw(data: FigureData) -> Plot:
    """Win rates: share of prompts on which one model scores higher than another, ties half."""
    cells: dict[Axis, Cells] = {axis: {} for axis in data.axes}
    rows, rates = [], []
    for axis in data.axes:
        for item in data.analysis.comparisons:
            rate = item.win_interval if item.metric == score_of(axis).name else None
            if rate is None:
                continue
            place = data.models.index(item.model), data.models.index(item.reference)
            cells[axis][place] = _said(rate.value, rate.low, rate.high)
            cells[axis][place[::-1]] = _said(100 - rate.value, 100 - rate.high, 100 - rate.low)
            rows.append(estimate_row(rate, **columns(item, "metric", "model", "reference")))
            rates.append(rate)
    if not rows:
        raise NothingToShow("win rates: no two models were compared by their scores")
    return Plot(
        figure=draw_matrices(data.models, cells, most_beside=4, row=0.66),
        data=rows,
        title="Win rates",
        caption=(
            "Percent of prompts on which the row's model has a higher score than the column's, ties"
            " counting half; columns have their rows' numbers. Blue: wins more often, orange:"
            " loses more often; * marks an interval without 50. In brackets, for"
            f" each pair by itself: {intervals_in_words(rates)}"
            f" Judge: {data.judge}."
        ),
    )


def _said(value: float, low: float, high: float) -> tuple[str, float]:
    """Return the text and the strength of a cell."""
    mark = "" if low <= 50 <= high else "*"
    return f"{value:.0f}{mark}\n[{low:.0f}, {high:.0f}]", (value - 50) / 50
