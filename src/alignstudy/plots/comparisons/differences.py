"""Paired differences to the base model: the question that a study asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignstudy.plots.base import (
    RATES,
    SCORES,
    Difference,
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
    model_style,
    new_figure,
    row_height,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = RATES | {"score_harmless": "Score, harmful", "score_helpful": "Score, helpful"}


@in_house_style
def draw(data: FigureData) -> Plot:
    """Differences: each model minus the base model, paired by prompt, with intervals."""
    reference = data.reference
    found = {
        (item.metric, item.model): item
        for item in data.differences
        if item.reference == reference and item.estimate is not None
    }
    if not found:
        raise NothingToShow("differences: no model was compared with a reference")
    models = list(data.compared)
    height = 0.9 + max(1, len(models)) * max(0.55, row_height(models))
    figure = new_figure(2 * height)
    panels = figure.subplots(2, 3).flatten()
    for axes, metric in zip(panels, (*RATES, *SCORES), strict=False):
        _draw_panel(axes, data, metric, [found.get((metric, model)) for model in models], models)
    panels[-1].set_axis_off()
    for axes in (panels[1], panels[2], panels[4]):
        axes.set_yticks([])
    shown = [found.get((metric, model)) for metric in (*RATES, *SCORES) for model in models]
    return Plot(
        figure=figure,
        data=[_row(item) for item in shown if item is not None],
        title=f"Differences to {reference}",
        caption=(
            f"Each model minus {reference}, prompt by prompt: percentage points for HmR, HpR and"
            f" CAS, the unit of the judge {data.judge} for scores. Filled marker: a difference is"
            " shown after correction for several comparisons; open marker: none is shown. "
            + intervals_in_words(item.estimate for item in shown if item is not None)
        ),
    )


def _draw_panel(
    axes: Axes,
    data: FigureData,
    metric: str,
    items: list[Difference | None],
    models: list[str],
) -> None:
    """Draw the differences of one metric."""
    from matplotlib.ticker import MaxNLocator

    is_rate = metric in RATES
    axes.set(title=_TITLES[metric], xlabel="percentage points" if is_rate else "score")
    if any(items):
        axes.axvline(0, color=MUTED, linewidth=1.2, zorder=2)
    axes.margins(x=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    draw_estimates(
        axes,
        [item.estimate if item else None for item in items],
        [model_style(data.models, model) for model in models],
        digits=1 if is_rate else 2,
        hollow=[item is not None and not item.shown for item in items],
        signed=True,
    )
    label_rows(axes, models)


def _row(item: Difference) -> dict[str, Any]:
    """Return a difference as a row of the figure's data."""
    row = estimate_row(item.metric, item.model, item.estimate)
    return row | {"reference": item.reference, "p_corrected": item.p_value, "shown": item.shown}
