"""Scores against length: whether the judge pays for words, and what the cap does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alignstudy.plots.base import FigureData, NothingToShow, Plot, columns
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    INK,
    MANY_POINTS,
    ModelStyle,
    add_legend,
    draw_cloud,
    not_measured,
    threshold_line,
)
from alignstudy.records import StopReason

_ENDED, _CAP, _UNKNOWN = "ended by itself", "cut off at the cap", "end not known"
_STYLES = {
    _ENDED: ModelStyle("#0072B2", "o"),
    _CAP: ModelStyle("#D55E00", "^"),
    _UNKNOWN: ModelStyle("#4d4d4d", "s"),
}
_ENDS: dict[str | None, str] = {StopReason.CAP: _CAP, None: _UNKNOWN}
_MOST_BINS = 10
_LEAST_IN_BIN = 8


def draw(data: FigureData) -> Plot:
    """Scores by length: every response's score against its length, marked by how it ended."""
    rows = [
        columns(row, "axis", "model", "seed", "prompt_id")
        | {"characters": len(row.response), "end": _ENDS.get(row.stop_reason, _ENDED)}
        | {"score": score}
        for axis in data.axes
        for model in data.models
        for row, score in data.scores(axis, model)
    ]
    if not rows:
        raise NothingToShow(f"scores by length: the judge {data.judge} gave no score")
    figure, panels = axis_panels(data.axes, 4.4)
    for axis, axes in panels.items():
        axes.set(xlabel="length, characters")
        of_axis = [row for row in rows if row["axis"] == axis.name]
        if of_axis:
            _draw_panel(axes, of_axis)
            threshold_line(axes, data.threshold(axis), vertical=False)
        else:
            not_measured(axes)
            axes.set_yticks([])
    next(iter(panels.values())).set_ylabel("score")
    ends = Counter(row["end"] for row in rows)
    add_legend(figure, {end: style for end, style in _STYLES.items() if end in ends})
    unknown = ends[_UNKNOWN]
    return Plot(
        figure=figure,
        data=rows,
        title="Scores by length",
        caption=(
            "Each point is one response of any model. Black line: median score of groups of"
            " responses of similar length; no interval is drawn. Dashed line: the threshold."
            " Prompts and models differ along the line, so it shows what goes together, not what"
            " causes what."
            + (f" How {unknown} responses ended was not recorded." if unknown else "")
            + f" Judge: {data.judge}; responses for each model and axis:"
            f" {data.numbers_of_scores()}."
        ),
    )


def _draw_panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw every response, and the median score of groups of responses of similar length."""
    for end, style in _STYLES.items():
        ended = [row for row in rows if row["end"] == end]
        lengths, scores = ([row[name] for row in ended] for name in ("characters", "score"))
        draw_cloud(axes, lengths, scores, style, many=len(rows) > MANY_POINTS, alpha=0.5)
    all_lengths = np.array([row["characters"] for row in rows])
    all_scores = np.array([row["score"] for row in rows])
    groups = groups_by_length(all_lengths)
    if len(groups) < 2:
        return
    axes.plot(
        [np.median(all_lengths[group]) for group in groups],
        [np.median(all_scores[group]) for group in groups],
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
