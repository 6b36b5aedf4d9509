"""Figures: estimates and scores in, a matplotlib Figure out; nothing here saves or shows.

To add one: a file with a function `draw(data: FigureData) -> Plot`, and a line in `FIGURES`. A
figure that the data give nothing to raises `NothingToShow`. Who calls it sets the house's style,
`style.house_style`.
"""

from __future__ import annotations

from alignstudy.registry import Registry

FIGURES = Registry(
    "figure",
    {
        "rates": "alignstudy.plots.comparisons.rates:draw",
        "differences": "alignstudy.plots.comparisons.differences:draw",
        "tradeoff": "alignstudy.plots.comparisons.tradeoff:draw",
        "threshold_curves": "alignstudy.plots.scores.threshold_curves:draw",
        "paired_scores": "alignstudy.plots.scores.paired_scores:draw",
        "score_distributions": "alignstudy.plots.scores.score_distributions:draw",
        "length_scores": "alignstudy.plots.scores.length_scores:draw",
        "judge_reliability": "alignstudy.plots.judges.judge_reliability:draw",
        "judge_agreement": "alignstudy.plots.judges.judge_agreement:draw",
        "judge_controls": "alignstudy.plots.judges.judge_controls:draw",
        "hygiene": "alignstudy.plots.models.hygiene:draw",
        "divergence": "alignstudy.plots.models.divergence:draw",
        "win_rates": "alignstudy.plots.comparisons.win_rates:draw",
        "power_curve": "alignstudy.plots.comparisons.power_curve:draw",
        "mean_scores": "alignstudy.plots.scores.mean_scores:draw",
        "score_histograms": "alignstudy.plots.scores.score_histograms:draw",
        "score_boxes": "alignstudy.plots.scores.score_boxes:draw",
        "training_curves": "alignstudy.plots.models.training_curves:draw",
        "likelihoods": "alignstudy.plots.models.likelihoods:draw",
    },
)

__all__ = ["FIGURES"]
