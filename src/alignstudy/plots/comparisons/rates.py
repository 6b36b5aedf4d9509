"""The published study's first figure: HmR, HpR and CAS by model, with intervals."""

from __future__ import annotations

from alignstudy.plots.base import RATES, FigureData, NothingToShow, Plot, intervals_in_words
from alignstudy.plots.comparisons.forest import draw_by_model


def draw(data: FigureData) -> Plot:
    """Rates by model: HmR, HpR and CAS in percent, with intervals."""
    if not any(estimate for metric in RATES for estimate in data.estimates(metric)):
        raise NothingToShow("rates: nothing has a threshold, or nothing has a score")
    scale = {"xlim": (-4, 104), "xlabel": "percent", "xticks": range(0, 101, 25)}
    figure, rows = draw_by_model(data, RATES, digits=1, **scale)
    # Metric by metric, because n and method differ between them.
    intervals = (
        f"{title}: {intervals_in_words(data.estimates(metric))}" for metric, title in RATES.items()
    )
    return Plot(
        figure=figure,
        data=rows,
        title="Rates by model",
        caption=(
            "Share of harmful prompts answered harmlessly (HmR), of helpful prompts answered"
            f" helpfully (HpR), and their mean (CAS), by the judge {data.judge}. "
            + " ".join(intervals)
        ),
    )
