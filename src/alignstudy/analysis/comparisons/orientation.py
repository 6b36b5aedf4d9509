"""Who leads in a metric, and which differences are real.

A difference is called *real* where its p-value, corrected by Holm for all comparisons of its
family, is below 5 %; everything else is "no difference is shown", which is not "no difference".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.formatting import NO_BREAK, interval, number
from alignstudy.metrics.metric import Metric
from alignstudy.records import Estimate


def turned(item: Comparison) -> Comparison:
    """Return a comparison the other way round."""

    def mirrored(estimate: Estimate, total: float) -> Estimate:
        low, high = total - estimate.high, total - estimate.low
        return replace(estimate, value=total - estimate.value, low=low, high=high)

    return replace(
        item,
        model=item.reference,
        reference=item.model,
        difference=mirrored(item.difference, 0.0),
        wins=item.losses,
        losses=item.wins,
        win_interval=item.win_interval and mirrored(item.win_interval, 100.0),
        effect_size=None if item.effect_size is None else -item.effect_size,
    )


def leading_metric(analysis: Analysis, *, without: Collection[str] = ()) -> Metric | None:
    """Return the figure to lead with: the mean of all rates, else the last that was measured.

    Of figures that some models lack, those come first that most models have.

    Args:
        analysis: Of one judge.
        without: Names of axes on which a figure to lead with must not rest.
    """
    by_weight = (*reversed(analysis.rates), *reversed(analysis.scores))
    sound = [metric for metric in by_weight if not set(metric.axes) & set(without)]
    amounts = [len(values_of(analysis, metric)) for metric in sound]
    most = max(amounts, default=0)
    return sound[amounts.index(most)] if most else None


def values_of(analysis: Analysis, metric: Metric) -> dict[str, Estimate]:
    """Return model -> estimate, models without one left out."""
    pairs = ((model.model, model.estimates.get(metric.name)) for model in analysis.models)
    return {model: estimate for model, estimate in pairs if estimate is not None}


def leaders(analysis: Analysis, metric: Metric) -> tuple[str, ...]:
    """Return the model with the highest value, or all that share it; empty if none was measured."""
    found = values_of(analysis, metric)
    top = max((estimate.value for estimate in found.values()), default=None)
    return tuple(model for model, estimate in found.items() if estimate.value == top)


def differences(analysis: Analysis, metric: Metric) -> list[Comparison]:
    """Return all comparisons of a metric, each turned so that the model is the better one."""
    found = (item for item in analysis.comparisons if item.metric == metric.name)
    return [turned(item) if item.difference.value < 0 else item for item in found]


def between(analysis: Analysis, metric: Metric, one: str, two: str) -> Comparison | None:
    """Return the comparison of two models, one minus the other, whichever was the reference.

    The one with the higher figure of its own may be below on the prompts that both have.
    """
    for item in analysis.comparisons:
        if item.metric == metric.name and {item.model, item.reference} == {one, two}:
            return item if item.model == one else turned(item)
    return None


def unseparated(analysis: Analysis, metric: Metric, best: str) -> list[str]:
    """Return the models that the best one is not shown to be above."""
    found = differences(analysis, metric)
    beaten = {f.reference for f in found if f.model == best and f.is_shown}
    return [model for model in values_of(analysis, metric) if model not in beaten | {best}]


def gap_in_words(pair: Comparison, metric: Metric) -> str:
    """Write the difference and its interval."""
    gap = number(pair.difference.value, metric.digits, signed=True)
    return f"{gap}{metric.points} {interval(pair.difference, metric.digits)}"


def figures_in_words(estimate: Estimate, metric: Metric) -> str:
    """Write a metric with interval and number of prompts."""
    digits = metric.digits
    size = f"n{NO_BREAK}={NO_BREAK}{estimate.n}"
    return f"{number(estimate.value, digits)} {interval(estimate, digits)}, {size}"
