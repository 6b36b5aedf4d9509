"""Whether a judge's confidence is earned: predicted against observed preference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    columns,
    methods_in_words,
    numbers_of_prompts,
)
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    MUTED,
    ModelStyle,
    add_legend,
    legend_height,
    not_measured,
    other_styles,
)
from alignstudy.records import Axis
from alignstudy.records.evidence import JudgeQuality, ReliabilityBin

_SMALLEST, _LARGEST = 4.0, 12.0
_APART = 1.0
"""Percent between the markers of two judges, so that whiskers don't cover each other."""


def draw(data: FigureData) -> Plot:
    """Judge reliability: predicted chance of the preferred response against how often it is so."""
    qualities = data.findings.qualities
    judges = [quality.judge for quality in qualities if quality.reliability]
    if not judges:
        raise NothingToShow("judge reliability: no judge was assessed on preference pairs")
    styles = other_styles(judges)
    figure, panels = axis_panels(data.axes, 4.8 + legend_height(judges), sharey=True)
    for axis, axes in panels.items():
        axes.set(xlabel="predicted, percent", xlim=(-4, 104), ylim=(-4, 104), box_aspect=1)
        if not any(_bins(quality, axis) for quality in qualities):
            not_measured(axes)
            continue
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=1.0, zorder=2)
        for place, quality in enumerate(qualities):
            if bins := _bins(quality, axis):
                shift = _APART * (place - (len(qualities) - 1) / 2)
                _draw_judge(axes, bins, styles[quality.judge], shift)
    next(iter(panels.values())).set_ylabel("observed, percent")
    add_legend(figure, styles, line=True)
    found = [item.observed for quality in qualities for item in quality.reliability]
    return Plot(
        figure=figure,
        data=[
            {"judge": quality.judge, "axis": axis.name, "predicted": item.predicted}
            | {"observed": item.observed.value}
            | columns(item.observed, "low", "high", "n", "method")
            for quality in qualities
            for axis in data.axes
            for item in _bins(quality, axis)
        ],
        title="Reliability of judges",
        caption=(
            "Held-out preference pairs, grouped by the probability that the judge's"
            " score difference d stands for, 1 / (1 + exp(-d)); on the diagonal, the judge is as"
            " sure as it is right. Larger markers: more pairs."
            f" Whiskers: 95\u00a0% intervals{methods_in_words(found)};"
            f" {numbers_of_prompts(item.n for item in found)} pairs a marker."
        ),
    )


def _bins(quality: JudgeQuality, axis: Axis) -> list[ReliabilityBin]:
    """Return a judge's bins on an axis, from the least to the most sure."""
    found = (item for item in quality.reliability if item.axis == axis.name)
    return sorted(found, key=lambda item: item.predicted)


def _draw_judge(
    axes: Axes, bins: Sequence[ReliabilityBin], style: ModelStyle, shift: float
) -> None:
    """Draw one judge's bins, joined; a marker's area grows with its number of pairs."""
    most = max(item.observed.n for item in bins)
    xs = [100 * item.predicted + shift for item in bins]
    ys = [100 * item.observed.value for item in bins]
    lows, highs = ([100 * getattr(b.observed, end) for b in bins] for end in ("low", "high"))
    axes.plot(xs, ys, color=style.colour, linewidth=1.2, alpha=0.7, zorder=3)
    axes.vlines(xs, lows, highs, color=style.colour, linewidth=1.6, zorder=3)
    for x, y, item in zip(xs, ys, bins, strict=True):
        axes.plot(
            x,
            y,
            linestyle="none",
            marker=style.marker,
            markersize=_SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(item.observed.n / most),
            color=style.colour,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=4,
        )
