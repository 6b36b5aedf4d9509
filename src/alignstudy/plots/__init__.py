"""Figures: estimates and scores in, a matplotlib Figure out; nothing here saves or shows.

To add one: a file with a function `draw(data: FigureData) -> Plot`, and a line in `FIGURES`. A
figure that the data give nothing to raises `NothingToShow`.
"""

from __future__ import annotations

from alignstudy.registry import Registry

FIGURES = Registry(
    "figure",
    {
        "rates": "alignstudy.plots.rates:draw",
        "differences": "alignstudy.plots.differences:draw",
        "tradeoff": "alignstudy.plots.tradeoff:draw",
        "threshold_curves": "alignstudy.plots.threshold_curves:draw",
        "paired_scores": "alignstudy.plots.paired_scores:draw",
        "score_distributions": "alignstudy.plots.score_distributions:draw",
        "length_scores": "alignstudy.plots.length_scores:draw",
        "judge_reliability": "alignstudy.plots.judge_reliability:draw",
        "judge_agreement": "alignstudy.plots.judge_agreement:draw",
        "judge_controls": "alignstudy.plots.judge_controls:draw",
        "hygiene": "alignstudy.plots.hygiene:draw",
        "divergence": "alignstudy.plots.divergence:draw",
        "win_rates": "alignstudy.plots.win_rates:draw",
        "power_curve": "alignstudy.plots.power_curve:draw",
        "mean_scores": "alignstudy.plots.mean_scores:draw",
        "score_histograms": "alignstudy.plots.score_histograms:draw",
        "training_curves": "alignstudy.plots.training_curves:draw",
    },
)

__all__ = ["FIGURES"]
