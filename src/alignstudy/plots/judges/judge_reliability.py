"""Whether a judge's confidence is earned: predicted against observed preference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from alignstudy.plots.base import AXIS_TITLES, FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    MUTED,
    ModelStyle,
    add_legend,
    in_house_style,
    judge_style,
    legend_height,
    new_figure,
    not_measured,
)
from alignstudy.records import Axis
from alignstudy.records.evidence import JudgeQuality

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST, _LARGEST = 4.0, 12.0
_APART = 1.0
"""Percent between the markers of two judges, so that whiskers don't cover each other."""


@in_house_style
def draw(data: FigureData) -> Plot:
    """Judge reliability: predicted chance of the preferred response against how often it is so."""
    judges = [quality.judge for quality in data.qualities if quality.reliability]
    if not judges:
        raise NothingToShow("judge reliability: no judge was assessed on preference pairs")
    figure = new_figure(4.8 + legend_height(judges))
    panels = figure.subplots(1, len(AXIS_TITLES), sharey=True)
    for axes, (axis, title) in zip(panels, AXIS_TITLES.items(), strict=True):
        axes.set(title=title, xlabel="predicted, percent", xlim=(-4, 104), ylim=(-4, 104))
        axes.set(box_aspect=1)
        axes.grid(visible=True, axis="both")
        if not any(_bins(quality, axis) for quality in data.qualities):
            not_measured(axes)
            continue
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=1.0, zorder=2)
        for place, quality in enumerate(data.qualities):
            if _bins(quality, axis):
                shift = _APART * (place - (len(data.qualities) - 1) / 2)
                _draw_judge(axes, quality, axis, judge_style(judges, quality.judge), shift)
    panels[0].set_ylabel("observed, percent")
    add_legend(figure, {judge: judge_style(judges, judge) for judge in judges}, line=True)
    return Plot(
        figure=figure,
        data=[row for quality in data.qualities for row in _rows(quality)],
        title="Reliability of judges",
        caption=_caption(data),
    )


def _bins(quality: JudgeQuality, axis: Axis) -> list[Any]:
    """Return a judge's bins on an axis, from the least to the most sure."""
    return sorted(
        (item for item in quality.reliability if item.axis is axis), key=lambda b: b.predicted
    )


def _draw_judge(
    axes: Axes, quality: JudgeQuality, axis: Axis, style: ModelStyle, shift: float
) -> None:
    """Draw one judge's bins, joined; a marker's area grows with its number of pairs."""
    bins = _bins(quality, axis)
    most = max(item.observed.n for item in bins)
    xs = [100 * item.predicted + shift for item in bins]
    ys = [100 * item.observed.value for item in bins]
    axes.plot(xs, ys, color=style.colour, linewidth=1.2, alpha=0.7, zorder=3)
    axes.vlines(
        xs, [100 * item.observed.low for item in bins], [100 * item.observed.high for item in bins],
        color=style.colour, linewidth=1.6, zorder=3,
    )  # fmt: skip
    for x, y, item in zip(xs, ys, bins, strict=True):
        size = _SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(item.observed.n / most)
        axes.plot(
            [x], [y], linestyle="none", marker=style.marker, markersize=size, color=style.colour,
            markeredgecolor="white", markeredgewidth=0.6, zorder=4,
        )  # fmt: skip


def _rows(quality: JudgeQuality) -> list[dict[str, Any]]:
    """Return a judge's bins as rows of the figure's data."""
    return [
        {
            "judge": quality.judge, "axis": str(axis), "predicted": item.predicted,
            "observed": item.observed.value, "low": item.observed.low, "high": item.observed.high,
            "n": item.observed.n, "method": item.observed.method,
        }
        for axis in Axis
        for item in _bins(quality, axis)
    ]  # fmt: skip


def _caption(data: FigureData) -> str:
    """Return what a bin is, and each judge's accuracy and calibration error."""
    found = [item for quality in data.qualities for item in quality.reliability]
    methods = ", ".join(sorted({item.observed.method for item in found if item.observed.method}))
    parts = []
    for quality in data.qualities:
        for axis in Axis:
            accuracy = quality.accuracy(axis)
            if accuracy is None or axis not in quality.ece:
                continue
            parts.append(
                f"{quality.judge}, {AXIS_TITLES[axis].lower()}: prefers what people prefer in"
                f" {accuracy.value:.1f}\u00a0% of {accuracy.n} pairs, calibration error"
                f" {quality.ece[axis]:.2f}."
            )
    return (
        "Pairs of responses that people compared, grouped by the probability that the judge's score"
        " difference d stands for, 1 / (1 + exp(-d)); on the diagonal, the judge is as sure as it"
        " is right. Larger markers: more pairs."
        f" Whiskers: 95\u00a0% intervals{f' ({methods})' if methods else ''};"
        f" {numbers_of_prompts(item.observed.n for item in found)} pairs a marker. "
        + " ".join(parts)
    ).strip()
