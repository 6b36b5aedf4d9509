"""Scores against length: whether the judge pays for words, and what the cap does."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alignstudy.plots.base import FigureData, NothingToShow, Plot
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    INK,
    MANY_POINTS,
    ModelStyle,
    add_legend,
    draw_cloud,
    in_house_style,
    not_measured,
    threshold_line,
)
from alignstudy.records import Axis, ScoredResponse, StopReason

_ENDED, _CAP, _UNKNOWN = "ended by itself", "cut off at the cap", "end not known"
_STYLES = {
    _ENDED: ModelStyle("#0072B2", "o"),
    _CAP: ModelStyle("#D55E00", "^"),
    _UNKNOWN: ModelStyle("#4d4d4d", "s"),
}
_MOST_BINS = 10
_LEAST_IN_BIN = 8


@in_house_style
def draw(data: FigureData) -> Plot:
    """Scores by length: every response's score against its length, marked by how it ended."""
    rows = [row for axis in data.axes for row in _rows(data, axis)]
    if not rows:
        raise NothingToShow(f"scores by length: the judge {data.judge} gave no score")
    figure, panels = axis_panels(data.axes, 4.4)
    for axis, axes in panels.items():
        axes.set(xlabel="length, characters")
        of_axis = [row for row in rows if row["axis"] == axis.name]
        if not of_axis:
            not_measured(axes)
            axes.set_yticks([])
            continue
        for end, style in _STYLES.items():
            ended = [row for row in of_axis if row["end"] == end]
            lengths, scores = ([row[name] for row in ended] for name in ("characters", "score"))
            draw_cloud(axes, lengths, scores, style, many=len(of_axis) > MANY_POINTS, alpha=0.5)
        _draw_medians(axes, of_axis)
        threshold_line(axes, data.threshold(axis), vertical=False)
    next(iter(panels.values())).set_ylabel("score")
    ends = {row["end"] for row in rows}
    add_legend(figure, {end: style for end, style in _STYLES.items() if end in ends})
    return Plot(figure=figure, data=rows, title="Scores by length", caption=_caption(data, rows))


def _rows(data: FigureData, axis: Axis) -> list[dict[str, Any]]:
    """Return every response with a score as a row of the figure's data."""
    return [
        {
            "axis": axis.name,
            "model": model,
            "seed": row.seed,
            "prompt_id": row.prompt_id,
            "characters": len(row.response),
            "end": _end(row),
            "score": score,
        }
        for model in data.models
        for row, score in data.scores(axis, model)
    ]


def _end(row: ScoredResponse) -> str:
    """Return how a response ended."""
    if row.stop_reason is None:
        return _UNKNOWN
    return _CAP if row.stop_reason == StopReason.CAP else _ENDED


def _draw_medians(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the median score of groups of responses of similar length."""
    lengths = np.array([row["characters"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    groups = groups_by_length(lengths)
    if len(groups) < 2:
        return
    axes.plot(
        [np.median(lengths[group]) for group in groups],
        [np.median(scores[group]) for group in groups],
        color=INK,
        linewidth=2.0,
        marker="D",
        markersize=5,
        markeredgecolor="white",
        zorder=5,
    )


def groups_by_length(lengths: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Cut responses into groups of about one size by length; equal lengths stay together.

    Args:
        lengths: Shape (responses,).

    Returns:
        Up to ten groups of places in `lengths`, shortest first; one where all are alike.
    """
    num_groups = max(1, min(_MOST_BINS, len(lengths) // _LEAST_IN_BIN))
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, num_groups + 1)[1:-1]))
    numbers = np.searchsorted(edges, lengths, side="left")
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def _caption(data: FigureData, rows: list[dict[str, Any]]) -> str:
    """Return what points and the line are, and that lengths are no treatment."""
    unknown = sum(row["end"] == _UNKNOWN for row in rows)
    return (
        "Each point is one response of any model. Black line: median score of groups of responses"
        " of similar length; no interval is drawn. Dashed line: the threshold. Prompts and models"
        " differ along the line, so it shows what goes together, not what causes what."
        + (f" How {unknown} responses ended was not recorded." if unknown else "")
        + f" Judge: {data.judge}; responses for each model and axis:"
        f" {data.numbers_of_scores()}."
    )
