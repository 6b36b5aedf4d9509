"""What a score cost in distance from the base: score against the root of the divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from alignstudy.metrics.figures import score_of
from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    intervals_in_words,
    numbers_of_prompts,
)
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    ModelStyle,
    add_legend,
    draw_marker,
    in_house_style,
    legend_height,
    model_styles,
    not_measured,
)
from alignstudy.records import Axis, Estimate
from alignstudy.records.evidence import Divergence


@dataclass(frozen=True, kw_only=True)
class _Point:
    """One training: roots of the divergence and its interval, and the mean score."""

    model: str
    seed: int
    root: float
    low: float
    high: float
    score: float
    estimate: Estimate | None
    n: int


@in_house_style
def draw(data: FigureData) -> Plot:
    """Divergence: mean score against the root of the divergence from the base, by training."""
    points = {axis: _points(data, axis) for axis in data.axes}
    if not any(points.values()):
        raise NothingToShow("divergence: no model's divergence from the base was measured")
    figure, panels = axis_panels(data.axes, 4.0 + legend_height(data.models))
    styles = model_styles(data.models)
    for axis, axes in panels.items():
        axes.set(xlabel="root of the divergence per response, \u221anats")
        axes.margins(0.12)
        if not points[axis]:
            not_measured(axes)
            axes.set_yticks([])
        for point in points[axis]:
            _draw_point(axes, point, styles[point.model])
    next(iter(panels.values())).set_ylabel("mean score")
    shown = {point.model for found in points.values() for point in found}
    add_legend(figure, {model: style for model, style in styles.items() if model in shown})
    return Plot(
        figure=figure,
        data=[_row(axis, point) for axis in data.axes for point in points[axis]],
        title="Score and distance from the base",
        caption=_caption(data, [point for found in points.values() for point in found]),
    )


def _points(data: FigureData, axis: Axis) -> list[_Point]:
    """Return every training whose divergence and mean score are known."""
    estimates = dict(zip(data.models, data.estimates(score_of(axis)), strict=True))
    found = []
    for item in data.findings.divergences:
        if item.model not in data.models:
            continue
        scored = data.scores(axis, item.model)
        scores = [score for row, score in scored if row.seed == item.seed]
        if not scores or (item.kl_per_sequence is None and item.model != data.analysis.base):
            continue
        several = len({row.seed for row, _ in scored}) > 1
        low, root, high = _roots(item)
        found.append(
            _Point(
                model=item.model,
                seed=item.seed,
                root=root,
                low=low,
                high=high,
                score=fmean(scores),
                estimate=None if several else estimates[item.model],
                n=item.n,
            )
        )
    return found


def _roots(item: Divergence) -> tuple[float, float, float]:
    """Return the roots of low, value and high; what is below 0 is taken as 0, as is the base."""
    kl = item.kl_per_sequence
    if kl is None:
        return 0.0, 0.0, 0.0
    low, value, high = (math.sqrt(max(0.0, x)) for x in (kl.low, kl.value, kl.high))
    return low, value, high


def _draw_point(axes: Axes, point: _Point, style: ModelStyle) -> None:
    """Draw one training with its intervals; open where it is one seed of several."""
    line: dict[str, Any] = {"color": style.colour, "linewidth": 1.8, "zorder": 3}
    axes.plot([point.low, point.high], [point.score, point.score], **line)
    if point.estimate is not None:
        axes.plot([point.root, point.root], [point.estimate.low, point.estimate.high], **line)
    hollow = point.estimate is None
    draw_marker(axes, point.root, point.score, style, size=9, hollow=hollow)


def _row(axis: Axis, point: _Point) -> dict[str, Any]:
    """Return a training as a row of the figure's data."""
    return {
        "axis": axis.name,
        "model": point.model,
        "seed": point.seed,
        "root_kl": point.root,
        "root_kl_low": point.low,
        "root_kl_high": point.high,
        "score": point.score,
        "score_low": point.estimate.low if point.estimate else None,
        "score_high": point.estimate.high if point.estimate else None,
        "samples": point.n,
    }


def _caption(data: FigureData, points: list[_Point]) -> str:
    """Return how the divergence was estimated, and what it can't say."""
    estimates = [point.estimate for point in points]
    kls = [item.kl_per_sequence for item in data.findings.divergences]
    methods = sorted({kl.method for kl in kls if kl and kl.method})
    several = " Open markers: one training seed of several, scores without interval."
    return (
        "Across: the root of the Kullback-Leibler divergence from the base, estimated by the mean"
        " log-ratio of whole responses that the model drew itself"
        f" ({numbers_of_prompts(point.n for point in points)} samples;"
        f" 95\u00a0% intervals{', ' + ', '.join(methods) if methods else ''}); an estimate below 0"
        f" is drawn at 0. Up: mean score of the judge {data.judge} on the study's responses."
        + (several if None in estimates else "")
        + (f" {intervals_in_words(estimates)}" if any(estimates) else "")
        + " Equal distance doesn't make methods equal."
    )
