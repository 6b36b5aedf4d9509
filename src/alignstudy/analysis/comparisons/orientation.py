"""Who leads in a metric, and which differences are real.

A difference is called *real* where its p-value, corrected by Holm for all comparisons of its
family, is below `ALPHA`; everything else is "no difference is shown", which is not "no difference".
"""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.formatting import (
    NO_BREAK,
    interval,
    listing,
    number,
    p_in_words,
)
from alignstudy.metrics.metric import Metric
from alignstudy.records import Estimate
from alignstudy.stats.power import planning
from alignstudy.stats.power.power import Power

ALPHA = planning.ALPHA


@dataclass(frozen=True, kw_only=True)
class OrientedComparison:
    """A comparison turned so that `better` has the higher value in this sample.

    Attributes:
        points: The difference, positive or zero.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_holm: Corrected p-value; None where no test was made.
        is_equivalent: Whether a test of equivalence puts the two within `margin`.
    """

    metric: Metric
    better: str
    worse: str
    points: float
    low: float
    high: float
    p_holm: float | None
    power: Power | None = None
    is_equivalent: bool = False
    margin: float | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the difference is real, as this module uses the word."""
        return self.p_holm is not None and self.p_holm < ALPHA

    def gap(self) -> str:
        """Write the difference and its interval."""
        digits = self.metric.digits
        text = f"{number(self.points, digits, signed=True)}{self.metric.points}"
        return f"{text} [{number(self.low, digits)}, {number(self.high, digits)}]"

    def figures(self) -> str:
        """Write difference, interval and p-value for a bracket."""
        return self.gap() if self.p_holm is None else f"{self.gap()}, {p_in_words(self.p_holm)}"


def leading_metric(analysis: Analysis) -> Metric | None:
    """Return the figure to lead with: the mean of all rates, else the last that was measured."""
    by_weight = (*reversed(analysis.rates), *reversed(analysis.scores))
    return next((metric for metric in by_weight if values_of(analysis, metric)), None)


def values_of(analysis: Analysis, metric: Metric) -> dict[str, Estimate]:
    """Return model -> estimate, models without one left out."""
    pairs = ((model.model, model.estimates.get(metric.name)) for model in analysis.models)
    return {model: estimate for model, estimate in pairs if estimate is not None}


def leaders(analysis: Analysis, metric: Metric) -> tuple[str, ...]:
    """Return the model with the highest value, or all that share it; empty if none was measured."""
    found = values_of(analysis, metric)
    top = max((estimate.value for estimate in found.values()), default=None)
    return tuple(model for model, estimate in found.items() if estimate.value == top)


def differences(analysis: Analysis, metric: Metric) -> list[OrientedComparison]:
    """Return all comparisons of a metric, each with the better model first."""
    return [_turned(item, metric) for item in analysis.comparisons if item.metric == metric.name]


def between(analysis: Analysis, metric: Metric, one: str, two: str) -> OrientedComparison | None:
    """Return the comparison of two models, whichever was the reference."""
    pair = {one, two}
    return next((f for f in differences(analysis, metric) if {f.better, f.worse} == pair), None)


def unseparated(analysis: Analysis, metric: Metric, best: str) -> list[str]:
    """Return the models that the best one is not shown to be above."""
    beaten = {f.worse for f in differences(analysis, metric) if f.better == best and f.is_shown}
    return [model for model in values_of(analysis, metric) if model not in beaten | {best}]


def _turned(item: Comparison, metric: Metric) -> OrientedComparison:
    """Turn a comparison so that the difference isn't negative."""
    gap = item.difference
    flip = gap.value < 0
    names = (item.reference, item.model) if flip else (item.model, item.reference)
    ends = (-gap.high, -gap.low) if flip else (gap.low, gap.high)
    return OrientedComparison(
        metric=metric,
        better=names[0],
        worse=names[1],
        points=abs(gap.value),
        low=ends[0],
        high=ends[1],
        p_holm=item.p_holm,
        power=item.power,
        is_equivalent=item.p_equivalent is not None and item.p_equivalent < ALPHA,
        margin=item.margin,
    )


def figures_in_words(estimate: Estimate, metric: Metric) -> str:
    """Write a metric with interval and number of prompts."""
    digits = metric.digits
    size = f"n{NO_BREAK}={NO_BREAK}{estimate.n}"
    return f"{number(estimate.value, digits)} {interval(estimate, digits)}, {size}"


def lead_in_words(analysis: Analysis, metric: Metric) -> str:
    """Return which model leads, and whether the lead is established."""
    found, first = values_of(analysis, metric), leaders(analysis, metric)
    name, figures = metric.title, figures_in_words(found[first[0]], metric)
    if len(found) == 1:
        return f"{first[0]} has {name} {figures}; with one model nothing is compared."
    if len(first) == len(found):
        return f"No difference: all {len(found)} models have the same {name} ({figures})."
    if len(first) > 1:
        return f"{listing(first)} share the highest {name} ({figures})."
    rivals = unseparated(analysis, metric, first[0])
    if not rivals:
        return f"{first[0]} has the highest {name} ({figures}), and its lead is a real difference."
    verdict = f"its lead over {listing(rivals)} is not established"
    return f"{first[0]} has the highest {name} ({figures}), but {verdict}."
