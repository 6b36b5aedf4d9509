"""Who does better on how many prompts: every model against every other."""

from __future__ import annotations

from typing import Any

from alignstudy.plots.base import (
    AXIS_TITLES,
    Difference,
    FigureData,
    NothingToShow,
    Plot,
    intervals_in_words,
)
from alignstudy.plots.comparisons.matrix import draw_matrix
from alignstudy.plots.style import in_house_style, new_figure, not_measured, row_height
from alignstudy.records import Axis

_METRICS = {Axis.HARMLESS: "score_harmless", Axis.HELPFUL: "score_helpful"}
_MOST_BESIDE = 4


@in_house_style
def draw(data: FigureData) -> Plot:
    """Win rates: share of prompts on which one model scores higher than another, ties half."""
    found = {axis: _of_axis(data, axis) for axis in Axis}
    if not any(found.values()):
        raise NothingToShow("win rates: no two models were compared by their scores")
    beside = len(data.models) <= _MOST_BESIDE
    height = 0.9 + len(data.models) * max(0.66, row_height(data.models))
    figure = new_figure(height if beside else 2 * height)
    shape = (1, len(AXIS_TITLES)) if beside else (len(AXIS_TITLES), 1)
    panels = figure.subplots(*shape, squeeze=False).flatten()
    for number, (axis, title) in enumerate(AXIS_TITLES.items()):
        axes = panels[number]
        axes.set_title(title, pad=12)
        named = number == 0 or not beside
        draw_matrix(axes, data.models, _cells(data, found[axis]), name_rows=named)
        if not found[axis]:
            not_measured(axes)
    items = [item for axis in Axis for item in found[axis]]
    return Plot(
        figure=figure,
        data=[_row(item) for item in items],
        title="Win rates",
        caption=(
            "Percent of prompts on which the row's model has a higher score than the column's, ties"
            " counting half; columns have their rows' numbers. Blue: wins more often, orange:"
            " loses more often; * marks an interval without 50. In brackets, for"
            f" each pair by itself: {intervals_in_words(item.win_rate for item in items)}"
            f" Judge: {data.judge}."
        ),
    )


def _of_axis(data: FigureData, axis: Axis) -> list[Difference]:
    """Return the comparisons of scores on an axis that have a win rate."""
    return [
        item
        for item in data.differences
        if item.metric == _METRICS[axis] and item.win_rate is not None
    ]


def _cells(
    data: FigureData, items: list[Difference]
) -> dict[tuple[int, int], tuple[str, float | None]]:
    """Return each comparison twice: as it was made, and the other way round."""
    cells: dict[tuple[int, int], tuple[str, float | None]] = {}
    for item in items:
        rate = item.win_rate
        if rate is None:
            continue
        place = data.models.index(item.model), data.models.index(item.reference)
        cells[place] = _said(rate.value, rate.low, rate.high)
        cells[place[::-1]] = _said(100 - rate.value, 100 - rate.high, 100 - rate.low)
    return cells


def _said(value: float, low: float, high: float) -> tuple[str, float]:
    """Return the text and the strength of a cell."""
    mark = "" if low <= 50 <= high else "*"
    return f"{value:.0f}{mark}\n[{low:.0f}, {high:.0f}]", (value - 50) / 50


def _row(item: Difference) -> dict[str, Any]:
    """Return a comparison as a row of the figure's data."""
    names = ("value", "low", "high", "n", "method", "level")
    row = {"metric": item.metric, "model": item.model, "reference": item.reference}
    return row | {name: getattr(item.win_rate, name) for name in names}
