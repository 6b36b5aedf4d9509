"""Paired differences to the base model: the question that a study asks."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import MaxNLocator

from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.forest import draw_estimates
from alignstudy.plots.style import MUTED, label_rows, model_style, new_figure, row_height


def draw(data: FigureData) -> Plot:
    """Differences: each model minus the base model, paired by prompt, with intervals."""
    reference, models, analysis = data.reference, data.compared, data.analysis
    made = {
        (item.metric, item.model): item
        for item in analysis.comparisons
        if item.reference == reference
    }
    asked = {axis.name for axis in data.axes}
    found = {
        metric: items
        for metric in analysis.metrics
        if asked.issuperset(metric.axes)
        and any(items := [made.get((metric.name, model)) for model in models])
    }
    shown = [item for items in found.values() for item in items if item]
    if not shown:
        raise NothingToShow("differences: no model was compared with a reference")
    split = ([m for m in found if m.is_rate is is_rate] for is_rate in (True, False))
    families = [family for family in split if family]
    columns = max(map(len, families))
    height = len(families) * (0.9 + max(1, len(models)) * max(0.55, row_height(models)))
    figure = new_figure(height, num_columns=columns)
    styles = [model_style(data.models, model) for model in models]
    grid: Any = figure.subplots(len(families), columns, squeeze=False)
    for panels, metrics in zip(grid, families, strict=True):
        for axes, metric in zip(panels, metrics, strict=False):
            items = found[metric]
            axes.set(title=metric.short, xlabel="percentage points" if metric.is_rate else "score")
            axes.axvline(0, color=MUTED, linewidth=1.2, zorder=2)
            axes.margins(x=0.14)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            draw_estimates(
                axes,
                [item.difference if item else None for item in items],
                styles,
                digits=metric.digits,
                hollow=[item is not None and not item.is_shown for item in items],
                signed=True,
            )
            label_rows(axes, models)
        for axes in panels[1:]:
            axes.set_yticks([])
        for axes in panels[len(metrics) :]:
            axes.set_axis_off()
    return Plot(
        figure=figure,
        data=[
            estimate_row(item.difference, metric=item.metric, model=item.model)
            | {"reference": reference, "p_corrected": item.p_holm, "shown": item.is_shown}
            for item in shown
        ],
        title=f"Differences to {reference}",
        caption=(
            f"Each model minus {reference}, prompt by prompt: percentage points for rates, the unit"
            f" of the judge {data.judge} for scores. Filled marker: a difference is shown after"
            " correction for several comparisons; open marker: none is shown. "
            + intervals_in_words(item.difference for item in shown)
        ),
    )
