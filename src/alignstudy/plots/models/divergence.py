"""What a score cost in distance from the base: score against the root of the divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from alignstudy.plots.base import (
    AXIS_TITLES,
    FigureData,
    NothingToShow,
    Plot,
    intervals_in_words,
    numbers_of_prompts,
)
from alignstudy.plots.style import (
    ModelStyle,
    add_legend,
    in_house_style,
    legend_height,
    model_style,
    new_figure,
    not_measured,
)
from alignstudy.records import Axis, Estimate
from alignstudy.records.evidence import Divergence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_METRICS = {Axis.HARMLESS: "score_harmless", Axis.HELPFUL: "score_helpful"}


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
    points = {axis: _points(data, axis) for axis in Axis}
    if not any(points.values()):
        raise NothingToShow("divergence: no model's divergence from the base was measured")
    figure = new_figure(4.0 + legend_height(data.models))
    panels = figure.subplots(1, len(AXIS_TITLES))
    for axes, (axis, title) in zip(panels, AXIS_TITLES.items(), strict=True):
        axes.set(title=title, xlabel="root of the divergence per response, \u221anats")
        axes.grid(visible=True, axis="both")
        axes.margins(0.12)
        if not points[axis]:
            not_measured(axes)
            axes.set_yticks([])
        for point in points[axis]:
            _draw_point(axes, point, model_style(data.models, point.model))
    panels[0].set_ylabel("mean score")
    shown = {point.model for found in points.values() for point in found}
    add_legend(figure, {m: model_style(data.models, m) for m in data.models if m in shown})
    return Plot(
        figure=figure,
        data=[_row(axis, point) for axis in Axis for point in points[axis]],
        title="Score and distance from the base",
        caption=_caption(data, points),
    )


def _points(data: FigureData, axis: Axis) -> list[_Point]:
    """Return every training whose divergence and mean score are known."""
    found = []
    for item in data.divergences:
        scores = [
            score
            for row, score in (data.scores(axis, item.model) if item.model in data.models else [])
            if row.seed == item.seed
        ]
        if not scores or (item.kl_per_sequence is None and item.model != data.base):
            continue
        several = len({row.seed for row, _ in data.scores(axis, item.model)}) > 1
        estimate = data.estimates.get(_METRICS[axis], {}).get(item.model)
        low, root, high = _roots(item)
        found.append(
            _Point(
                model=item.model, seed=item.seed, root=root, low=low, high=high,
                score=fmean(scores), estimate=None if several else estimate, n=item.n,
            )
        )  # fmt: skip
    return found


def _roots(item: Divergence) -> tuple[float, float, float]:
    """The roots of low, value and high; an estimate below 0 is taken as 0, as is the base."""
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
    axes.plot(
        [point.root], [point.score], linestyle="none", marker=style.marker, markersize=9,
        markerfacecolor=style.colour if point.estimate else "white", zorder=4,
        markeredgecolor=style.colour, markeredgewidth=1.8,
    )  # fmt: skip


def _row(axis: Axis, point: _Point) -> dict[str, Any]:
    """Return a training as a row of the figure's data."""
    return {
        "axis": str(axis), "model": point.model, "seed": point.seed, "root_kl": point.root,
        "root_kl_low": point.low, "root_kl_high": point.high, "score": point.score,
        "score_low": point.estimate.low if point.estimate else None,
        "score_high": point.estimate.high if point.estimate else None, "samples": point.n,
    }  # fmt: skip


def _caption(data: FigureData, points: dict[Axis, list[_Point]]) -> str:
    """Return how the divergence was estimated, and what it can't say."""
    found = [point for of_axis in points.values() for point in of_axis]
    estimates = [point.estimate for point in found]
    several = any(estimate is None for estimate in estimates)
    methods = sorted({item.kl_per_sequence.method for item in data.divergences
                      if item.kl_per_sequence and item.kl_per_sequence.method})  # fmt: skip
    return (
        "Across: the root of the Kullback-Leibler divergence from the base, estimated by the mean"
        " log-ratio of whole responses that the model drew itself"
        f" ({numbers_of_prompts(point.n for point in found)} samples;"
        f" 95\u00a0% intervals{', ' + ', '.join(methods) if methods else ''}); an estimate below 0"
        f" is drawn at 0. Up: mean score of the judge {data.judge} on the study's responses."
        + (
            " Open markers: one training seed of several, scores without interval."
            if several
            else ""
        )
        + (f" {intervals_in_words(estimates)}" if any(estimates) else "")
        + " Equal distance doesn't make methods equal."
    )
