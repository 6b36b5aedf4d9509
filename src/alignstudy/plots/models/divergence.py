"""What a score cost in distance from the base: score against the root of the divergence."""

from __future__ import annotations

import math
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


@in_house_style
def draw(data: FigureData) -> Plot:
    """Divergence: mean score against the root of the divergence from the base, by training."""
    rows = [row for axis in data.axes for row in _rows(data, axis)]
    if not rows:
        raise NothingToShow("divergence: no model's divergence from the base was measured")
    figure, panels = axis_panels(data.axes, 4.0 + legend_height(data.models))
    styles = model_styles(data.models)
    for axis, axes in panels.items():
        axes.set(xlabel="root of the divergence per response, \u221anats")
        axes.margins(0.12)
        of_axis = [row for row in rows if row["axis"] == axis.name]
        if not of_axis:
            not_measured(axes)
            axes.set_yticks([])
        for row in of_axis:
            _draw_training(axes, row, styles[row["model"]])
    next(iter(panels.values())).set_ylabel("mean score")
    shown = {row["model"] for row in rows}
    add_legend(figure, {model: style for model, style in styles.items() if model in shown})
    return Plot(
        figure=figure,
        data=rows,
        title="Score and distance from the base",
        caption=_caption(data, rows),
    )


def _rows(data: FigureData, axis: Axis) -> list[dict[str, Any]]:
    """Return every training whose divergence and mean score are known."""
    rows = []
    for item in data.findings.divergences:
        if item.model not in data.models:
            continue
        scores = [score for row, score in data.scores(axis, item.model) if row.seed == item.seed]
        if not scores or (item.kl_per_sequence is None and item.model != data.analysis.base):
            continue
        low, root, high = _roots(item)
        estimate = _estimate(data, axis, item.model)
        rows.append(
            {
                "axis": axis.name,
                "model": item.model,
                "seed": item.seed,
                "root_kl": root,
                "root_kl_low": low,
                "root_kl_high": high,
                "score": fmean(scores),
                "score_low": estimate.low if estimate else None,
                "score_high": estimate.high if estimate else None,
                "samples": item.n,
            }
        )
    return rows


def _estimate(data: FigureData, axis: Axis, model: str) -> Estimate | None:
    """Return a model's mean score; None where a training is one seed of several."""
    several = len({row.seed for row, _ in data.scores(axis, model)}) > 1
    found = data.estimates(score_of(axis))[data.models.index(model)]
    return None if several else found


def _roots(item: Divergence) -> tuple[float, float, float]:
    """Return the roots of low, value and high; what is below 0 is taken as 0, as is the base."""
    kl = item.kl_per_sequence
    if kl is None:
        return 0.0, 0.0, 0.0
    low, value, high = (math.sqrt(max(0.0, x)) for x in (kl.low, kl.value, kl.high))
    return low, value, high


def _draw_training(axes: Axes, row: dict[str, Any], style: ModelStyle) -> None:
    """Draw one training with its intervals; open where it is one seed of several."""
    line: dict[str, Any] = {"color": style.colour, "linewidth": 1.8, "zorder": 3}
    root, score, has_interval = row["root_kl"], row["score"], row["score_low"] is not None
    axes.plot([row["root_kl_low"], row["root_kl_high"]], [score, score], **line)
    if has_interval:
        axes.plot([root, root], [row["score_low"], row["score_high"]], **line)
    draw_marker(axes, root, score, style, size=9, hollow=not has_interval)


def _caption(data: FigureData, rows: list[dict[str, Any]]) -> str:
    """Return how the divergence was estimated, and what it can't say."""
    estimates = [
        _estimate(data, axis, row["model"])
        for axis in data.axes
        for row in rows
        if row["axis"] == axis.name
    ]
    kls = [item.kl_per_sequence for item in data.findings.divergences]
    methods = sorted({kl.method for kl in kls if kl and kl.method})
    several = " Open markers: one training seed of several, scores without interval."
    return (
        "Across: the root of the Kullback-Leibler divergence from the base, estimated by the mean"
        " log-ratio of whole responses that the model drew itself"
        f" ({numbers_of_prompts(row['samples'] for row in rows)} samples;"
        f" 95\u00a0% intervals{', ' + ', '.join(methods) if methods else ''}); an estimate below 0"
        f" is drawn at 0. Up: mean score of the judge {data.judge} on the study's responses."
        + (several if None in estimates else "")
        + (f" {intervals_in_words(estimates)}" if any(estimates) else "")
        + " Equal distance doesn't make methods equal."
    )
