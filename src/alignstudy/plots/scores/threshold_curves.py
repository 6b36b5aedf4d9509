"""Rates at every threshold: whether a finding hangs on where the line was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alignstudy.metrics.figures import rate_of
from alignstudy.plots.base import FigureData, NothingToShow, Plot, axis_title, numbers_of_prompts
from alignstudy.plots.style import (
    add_legend,
    in_house_style,
    legend_height,
    model_styles,
    new_figure,
    not_measured,
    threshold_line,
    wrap_label,
)
from alignstudy.records.robustness import Sweep

_ROW = 0.2


@in_house_style
def draw(data: FigureData) -> Plot:
    """Threshold curves: rates by threshold, with bands, and below them which model leads."""
    sweeps = {sweep.axis: sweep for sweep in data.analysis.sweeps}
    if not sweeps:
        raise NothingToShow("threshold curves: no axis has a threshold to vary")
    strip = 0.35 + _ROW * len(data.models)
    figure = new_figure(4.1 + strip + legend_height(data.models))
    panels: Any = figure.subplots(
        2, len(data.axes), sharex="col", squeeze=False, height_ratios=[3.6, strip]
    )
    for column, axis in enumerate(data.axes):
        curves, leaders = panels[:, column]
        curves.set(title=wrap_label(f"{axis_title(axis)}: {rate_of(axis).title}"), ylim=(-3, 103))
        leaders.set_xlabel("threshold (score above which a response counts)")
        if axis.name not in sweeps:
            not_measured(curves)
            leaders.set_axis_off()
            continue
        _draw_curves(curves, data, sweeps[axis.name])
        _draw_leaders(leaders, data, sweeps[axis.name])
        for axes in (curves, leaders):
            threshold_line(axes, data.threshold(axis))
    panels[0, 0].set_ylabel("percent")
    panels[1, 0].set_ylabel("leads", rotation=0, ha="right", va="center", labelpad=16)
    add_legend(figure, model_styles(data.models), line=True)
    return Plot(
        figure=figure,
        data=[row for sweep in sweeps.values() for row in _rows(sweep, data.models)],
        title="Rates by threshold",
        caption=_caption(data, sweeps),
    )


def _draw_curves(axes: Axes, data: FigureData, sweep: Sweep) -> None:
    """Draw one line with its band a model."""
    axes.grid(visible=True, axis="both")
    num_points = len(sweep.thresholds)
    for place, (model, style) in enumerate(model_styles(data.models).items()):
        if model not in sweep.rates:
            continue
        low, high = sweep.low[model], sweep.high[model]
        fill: dict[str, Any] = {"facecolor": style.colour, "linewidth": 0}
        axes.fill_between(sweep.thresholds, low, high, alpha=0.10, zorder=1.5, **fill)
        # Markers are set apart, else those of models that agree would hide each other.
        every = max(1, num_points // 6)
        start = place * every // len(data.models)
        axes.plot(
            sweep.thresholds,
            sweep.rates[model],
            color=style.colour,
            linewidth=1.8,
            marker=style.marker,
            markersize=6,
            markevery=(start, every),
            zorder=3,
        )


def _draw_leaders(axes: Axes, data: FigureData, sweep: Sweep) -> None:
    """Draw, a row a model, where no other model has a higher rate."""
    left: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "in_layout": False}
    for row, (model, style) in enumerate(model_styles(data.models).items()):
        fill: dict[str, Any] = {"facecolor": style.colour, "linewidth": 0, "zorder": 3}
        for stretch in _stretches(sweep, model):
            axes.fill_between(stretch, row - 0.36, row + 0.36, **fill)
        marker: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 6}
        axes.plot([-0.025], [row], clip_on=False, **left, **marker)
    axes.set_yticks([])
    axes.set_ylim(len(data.models) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.hlines(range(len(data.models)), *axes.get_xlim(), color="#eaeef2", linewidth=1.0, zorder=1)


def _stretches(sweep: Sweep, model: str) -> list[tuple[float, float]]:
    """Return where a model leads, each threshold widened halfway to its neighbours."""
    grid = sweep.thresholds
    middles = [grid[0], *((a + b) / 2 for a, b in pairwise(grid)), grid[-1]]
    found: list[tuple[float, float]] = []
    for number, leaders in enumerate(sweep.leaders):
        if model not in leaders:
            continue
        low, high = middles[number], middles[number + 1]
        if found and found[-1][1] == low:
            low = found.pop()[0]
        found.append((low, high))
    return found


def _rows(sweep: Sweep, models: Sequence[str]) -> list[dict[str, Any]]:
    """Return every rate as a row of the figure's data."""
    return [
        {
            "axis": sweep.axis,
            "threshold": threshold,
            "model": model,
            "rate": sweep.rates[model][i],
            "low": sweep.low[model][i],
            "high": sweep.high[model][i],
            "leads": model in sweep.leaders[i],
        }
        for model in models
        if model in sweep.rates
        for i, threshold in enumerate(sweep.thresholds)
    ]


def _caption(data: FigureData, sweeps: dict[str, Sweep]) -> str:
    """Return what bands and rows are, and how often the order changes."""
    scored = [~np.isnan(data.panels[axis].scores) for axis in sweeps]
    counts = [int(there.any(axis=0).sum()) for there in scored]
    orders = "; ".join(
        f"{rate_of(axis).title}: {sweeps[axis.name].num_rankings} distinct"
        f" ranking{'s' if sweeps[axis.name].num_rankings != 1 else ''} at"
        f" {len(sweeps[axis.name].thresholds)} thresholds"
        for axis in data.axes
        if axis.name in sweeps
    )
    return (
        "Share of responses whose score lies above a threshold. Bands: 95\u00a0% intervals"
        " (Wilson), each model and threshold by itself. Dashed line: the study's threshold. Below:"
        f" the thresholds at which a model has the highest rate, ties shown for all. {orders}."
        f" Judge: {data.judge}; {numbers_of_prompts(counts)} prompts an axis."
    )
