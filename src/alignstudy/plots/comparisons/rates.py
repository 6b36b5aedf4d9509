"""The published study's first figure: the rates and their mean by model, with intervals."""

from __future__ import annotations

from alignstudy.plots.base import FigureData, NothingToShow, Plot, intervals_in_words
from alignstudy.plots.comparisons.forest import draw_by_model


def draw(data: FigureData) -> Plot:
    """Rates by model: each axis' pass rate and their mean in percent, with intervals."""
    rates = [rate for rate in data.analysis.rates if any(data.estimates(rate))]
    if not rates:
        raise NothingToShow("rates: nothing has a threshold, or nothing has a score")
    scale = {"xlim": (-4, 104), "xlabel": "percent", "xticks": range(0, 101, 25)}
    figure, rows = draw_by_model(data, rates, **scale)
    shares = [f"of {axis.prompts} prompts {axis.answered}" for axis in data.axes]
    shares += ["and their mean" for rate in rates if len(rate.axes) > 1]
    found = [estimate for rate in rates for estimate in data.estimates(rate)]
    return Plot(
        figure=figure,
        data=rows,
        title="Rates by model",
        caption=(
            f"Share {', '.join(shares)}, by the judge {data.judge}. {intervals_in_words(found)}"
        ),
    )
