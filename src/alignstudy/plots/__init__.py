"""Figures: estimates and scores in, a matplotlib Figure out; nothing here saves or shows.

To add one: a file with a function `draw(data: FigureData) -> Plot`, and a line in `FIGURES`.
"""

from __future__ import annotations

from alignstudy.registry import Registry

FIGURES = Registry(
    "figure",
    {
        "rates": "alignstudy.plots.rates:draw",
        "differences": "alignstudy.plots.differences:draw",
        "mean_scores": "alignstudy.plots.mean_scores:draw",
        "score_distributions": "alignstudy.plots.score_distributions:draw",
        "score_histograms": "alignstudy.plots.score_histograms:draw",
        "per_prompt_scores": "alignstudy.plots.per_prompt_scores:draw",
        "training_curves": "alignstudy.plots.training_curves:draw",
    },
)

__all__ = ["FIGURES"]
