"""The published study's first figure: the rates and their mean by model, with intervals."""

from __future__ import annotations

from alignstudy.metrics.figures import rate_of
from alignstudy.plots.base import FigureData, NothingToShow, Plot, intervals_in_words
from alignstudy.plots.comparisons.forest import draw_by_model
from alignstudy.plots.style import in_house_style


@in_house_style
def draw(data: FigureData) -> Plot:
    """Rates by model: each axis' pass rate and their mean in percent, with intervals."""
    rates = data.analysis.rates
    if not any(estimate for rate in rates for estimate in data.estimates(rate)):
        raise NothingToShow("rates: nothing has a threshold, or nothing has a score")
    scale = {"xlim": (-4, 104), "xlabel": "percent", "xticks": range(0, 101, 25)}
    figure, rows = draw_by_model(data, rates, **scale)
    shares = [
        f"of {axis.prompts} prompts {axis.answered} ({rate_of(axis).title})" for axis in data.axes
    ]
    shares += [f"and their mean ({rate.title})" for rate in rates if len(rate.axes) > 1]
    # Metric by metric, because n and method differ between them.
    intervals = (f"{rate.title}: {intervals_in_words(data.estimates(rate))}" for rate in rates)
    return Plot(
        figure=figure,
        data=rows,
        title="Rates by model",
        caption=f"Share {', '.join(shares)}, by the judge {data.judge}. {' '.join(intervals)}",
    )
