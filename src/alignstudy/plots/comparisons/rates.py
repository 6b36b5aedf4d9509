"""The published study's first figure: HmR, HpR and CAS by model, with intervals."""

from __future__ import annotations

from alignstudy.plots.base import (
    RATES,
    FigureData,
    NothingToShow,
    Plot,
    estimate_row,
    intervals_in_words,
)
from alignstudy.plots.comparisons.forest import draw_estimates
from alignstudy.plots.style import in_house_style, label_rows, model_style, new_figure, row_height


@in_house_style
def draw(data: FigureData) -> Plot:
    """Rates by model: HmR, HpR and CAS in percent, with intervals."""
    if not any(
        estimate for metric in RATES for estimate in data.estimates.get(metric, {}).values()
    ):
        raise NothingToShow("rates: nothing has a threshold, or nothing has a score")
    figure = new_figure(1.1 + len(data.models) * max(0.55, row_height(data.models)))
    panels = figure.subplots(1, len(RATES), sharey=True)
    styles = [model_style(data.models, model) for model in data.models]
    rows = []
    for axes, (metric, title) in zip(panels, RATES.items(), strict=True):
        found = [data.estimates.get(metric, {}).get(model) for model in data.models]
        rows += [estimate_row(metric, m, e) for m, e in zip(data.models, found, strict=True)]
        axes.set(title=title, xlim=(-4, 104), xlabel="percent")
        axes.set_xticks(range(0, 101, 25))
        draw_estimates(axes, found, styles, digits=1)
        label_rows(axes, data.models)
    return Plot(
        figure=figure,
        data=rows,
        title="Rates by model",
        caption=_caption(data),
    )


def _caption(data: FigureData) -> str:
    """Return what is drawn, metric by metric, because n and method differ between them."""
    parts = []
    for metric, title in RATES.items():
        found = [data.estimates.get(metric, {}).get(model) for model in data.models]
        parts.append(f"{title}: {intervals_in_words(found)}")
    return (
        "Share of harmful prompts answered harmlessly (HmR), of helpful prompts answered"
        f" helpfully (HpR), and their mean (CAS), by the judge {data.judge}. " + " ".join(parts)
    )
