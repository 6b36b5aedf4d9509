"""Rates at every threshold: whether a finding hangs on where the line was drawn."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alignstudy.metrics.figures import rate_of
from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    axis_title,
    numbers_of_prompts,
)
from alignstudy.plots.style import (
    add_legend,
    draw_curve,
    legend_height,
    model_styles,
    new_figure,
    not_measured,
    threshold_line,
    wrap_label,
)
from alignstudy.records.robustness import Sweep

_ROW = 0.2


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
    found = {axis: sweeps[axis.name] for axis in data.axes if axis.name in sweeps}
    scored = [~np.isnan(data.panels[sweep.axis].scores) for sweep in found.values()]
    orders = "; ".join(
        f"{rate_of(axis).title}: {sweep.num_rankings} distinct"
        f" ranking{'s' if sweep.num_rankings != 1 else ''} at {len(sweep.thresholds)} thresholds"
        for axis, sweep in found.items()
    )
    return Plot(
        figure=figure,
        data=[
            {
                "axis": sweep.axis,
                "threshold": threshold,
                "model": model,
                "rate": sweep.rates[model][i],
                "low": sweep.low[model][i],
                "high": sweep.high[model][i],
                "leads": model in sweep.leaders[i],
            }
            for sweep in found.values()
            for model in data.models
            if model in sweep.rates
            for i, threshold in enumerate(sweep.thresholds)
        ],
        title="Rates by threshold",
        caption=(
            "Share of responses whose score lies above a threshold. Bands: 95\u00a0% intervals"
            " (Wilson), each model and threshold by itself. Dashed line: the study's threshold."
            f" Below: the thresholds at which a model has the highest rate, ties shown for all."
            f" {orders}. Judge: {data.judge};"
            f" {numbers_of_prompts(int(there.any(axis=0).sum()) for there in scored)} prompts an"
            " axis."
        ),
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
        draw_curve(axes, sweep.thresholds, sweep.rates[model], style, markevery=(start, every))


def _draw_leaders(axes: Axes, data: FigureData, sweep: Sweep) -> None:
    """Draw, a row a model, where no other model has a higher rate."""
    left: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "in_layout": False}
    # Each threshold is widened halfway to its neighbours, and those side by side are joined.
    grid = sweep.thresholds
    edges = [grid[0], *((a + b) / 2 for a, b in pairwise(grid)), grid[-1]]
    for row, (model, style) in enumerate(model_styles(data.models).items()):
        fill: dict[str, Any] = {"facecolor": style.colour, "linewidth": 0, "zorder": 3}
        leads = groupby(range(len(grid)), key=lambda place: model in sweep.leaders[place])
        for places in (list(places) for leading, places in leads if leading):
            stretch = (edges[places[0]], edges[places[-1] + 1])
            axes.fill_between(stretch, row - 0.36, row + 0.36, **fill)
        marker: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 6}
        axes.plot([-0.025], [row], clip_on=False, **left, **marker)
    axes.set_yticks([])
    axes.set_ylim(len(data.models) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.hlines(range(len(data.models)), *axes.get_xlim(), color="#eaeef2", linewidth=1.0, zorder=1)
