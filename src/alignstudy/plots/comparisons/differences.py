"""Paired differences to the base model: the question that a study asks."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import MaxNLocator

from alignstudy.plots.base import (
    AXIS_TITLES,
    RATES,
    SCORE_OF,
    FigureData,
    NothingToShow,
    Plot,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.forest import draw_estimates
from alignstudy.plots.style import MUTED, label_rows, model_style, new_figure, row_height

_TITLES = RATES | {
    SCORE_OF[axis]: f"Score, {title.split()[0].lower()}" for axis, title in AXIS_TITLES.items()
}


def draw(data: FigureData) -> Plot:
    """Differences: each model minus the base model, paired by prompt, with intervals."""
    reference, models = data.reference, data.compared
    made = {
        (item.metric, item.model): item
        for item in data.analysis.comparisons
        if item.reference == reference
    }
    found = {metric: [made.get((metric, model)) for model in models] for metric in _TITLES}
    shown = [item for items in found.values() for item in items if item]
    if not shown:
        raise NothingToShow("differences: no model was compared with a reference")
    figure = new_figure(2 * (0.9 + max(1, len(models)) * max(0.55, row_height(models))))
    panels: Any = figure.subplots(2, 3).flatten()
    for axes, (metric, items) in zip(panels, found.items(), strict=False):
        is_rate = metric in RATES
        axes.set(title=_TITLES[metric], xlabel="percentage points" if is_rate else "score")
        if any(items):
            axes.axvline(0, color=MUTED, linewidth=1.2, zorder=2)
        axes.margins(x=0.14)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        draw_estimates(
            axes,
            [item.difference if item else None for item in items],
            [model_style(data.models, model) for model in models],
            digits=1 if is_rate else 2,
            hollow=[item is not None and not item.is_shown for item in items],
            signed=True,
        )
        label_rows(axes, models)
    panels[-1].set_axis_off()
    for axes in (panels[1], panels[2], panels[4]):
        axes.set_yticks([])
    return Plot(
        figure=figure,
        data=[
            estimate_row(item.difference, metric=item.metric, model=item.model)
            | {"reference": reference, "p_corrected": item.p_holm, "shown": item.is_shown}
            for item in shown
        ],
        title=f"Differences to {reference}",
        caption=(
            f"Each model minus {reference}, prompt by prompt: percentage points for HmR, HpR and"
            f" CAS, the unit of the judge {data.judge} for scores. Filled marker: a difference is"
            " shown after correction for several comparisons; open marker: none is shown. "
            + intervals_in_words(item.difference for item in shown)
        ),
    )
