"""The metrics by which models are compared: each axis' pass rate, their mean, mean scores."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.metrics import METRICS
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.rates import CAS, SCORE
from alignstudy.records import Axis


def rate_of(axis: Axis) -> Metric:
    """Return the pass rate of an axis."""
    rate: Metric = METRICS.load(axis.rate)
    return rate.on(axis)


def score_of(axis: Axis) -> Metric:
    """Return the mean score on an axis."""
    return SCORE.on(axis)


def rates_of(axes: Sequence[Axis]) -> tuple[Metric, ...]:
    """Return the pass rate of each axis, then their mean; of one axis that would be the rate."""
    rates = tuple(rate_of(axis) for axis in axes)
    return (*rates, *((combined(axes),) if len(axes) > 1 else ()))


def combined(axes: Sequence[Axis]) -> Metric:
    """Return the mean of all rates."""
    return CAS.over(axes)


def scores_of(axes: Sequence[Axis]) -> tuple[Metric, ...]:
    """Return the mean score on each axis."""
    return tuple(score_of(axis) for axis in axes)


def figures_of(axes: Sequence[Axis]) -> tuple[Metric, ...]:
    """Return all metrics of a study on these axes."""
    return (*rates_of(axes), *scores_of(axes))
