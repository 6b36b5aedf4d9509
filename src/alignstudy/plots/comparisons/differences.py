"""Paired differences to the base model: the question that a study asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alignstudy.analysis.results import Comparison
from alignstudy.formatting import listing
from alignstudy.metrics.metric import Metric
from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.forest import draw_estimates
from alignstudy.plots.style import (
    MUTED,
    in_house_style,
    label_rows,
    model_styles,
    new_figure,
    row_height,
)


@in_house_style
def draw(data: FigureData) -> Plot:
    """Differences: each model minus the base model, paired by prompt, with intervals."""
    reference, models = data.reference, data.compared
    analysis = data.analysis
    found = {
        (metric.name, item.model): item
        for metric in analysis.metrics
        for item in data.comparisons(metric)
        if item.reference == reference
    }
    if not found:
        raise NothingToShow("differences: no model was compared with a reference")
    height = 0.9 + max(1, len(models)) * max(0.55, row_height(models))
    figure = new_figure(2 * height)
    columns = max(len(analysis.rates), len(analysis.scores))
    grid: Any = figure.subplots(2, columns, squeeze=False)
    for panels, metrics in zip(grid, (analysis.rates, analysis.scores), strict=True):
        for axes, metric in zip(panels, metrics, strict=False):
            _draw_panel(axes, data, metric, [found.get((metric.name, model)) for model in models])
        for axes in panels[1:]:
            axes.set_yticks([])
        for axes in panels[len(metrics) :]:
            axes.set_axis_off()
    keys = [(metric.name, model) for metric in analysis.metrics for model in models]
    shown = [found[key] for key in keys if key in found]
    return Plot(
        figure=figure,
        data=[_row(item) for item in shown],
        title=f"Differences to {reference}",
        caption=(
            f"Each model minus {reference}, prompt by prompt: percentage points for"
            f" {listing([rate.title for rate in analysis.rates])}, the unit of the judge"
            f" {data.judge} for scores. Filled marker: a difference is shown after correction for"
            " several comparisons; open marker: none is shown. "
            + intervals_in_words(item.difference for item in shown)
        ),
    )


def _draw_panel(
    axes: Axes, data: FigureData, metric: Metric, items: Sequence[Comparison | None]
) -> None:
    """Draw the differences of one metric."""
    styles = model_styles(data.models)
    axes.set(title=metric.short, xlabel="percentage points" if metric.is_rate else "score")
    if any(items):
        axes.axvline(0, color=MUTED, linewidth=1.2, zorder=2)
    axes.margins(x=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    draw_estimates(
        axes,
        [item.difference if item else None for item in items],
        [styles[model] for model in data.compared],
        digits=metric.digits,
        hollow=[item is not None and not item.is_shown for item in items],
        signed=True,
    )
    label_rows(axes, data.compared)


def _row(item: Comparison) -> dict[str, Any]:
    """Return a difference as a row of the figure's data."""
    row = estimate_row(item.difference, metric=item.metric, model=item.model)
    return row | {
        "reference": item.reference,
        "p_corrected": item.p_holm,
        "shown": item.is_shown,
    }
