"""What a score cost in distance from the base: score against the root of the divergence."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

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
    add_legend,
    draw_marker,
    legend_height,
    model_styles,
    not_measured,
)
from alignstudy.records import Axis, Estimate


def draw(data: FigureData) -> Plot:
    """Divergence: mean score against the root of the divergence from the base, by training."""
    trainings = [training for axis in data.axes for training in _trainings(data, axis)]
    if not trainings:
        raise NothingToShow("divergence: no model's divergence from the base was measured")
    rows, estimates = zip(*trainings, strict=True)
    figure, panels = axis_panels(data.axes, 4.0 + legend_height(data.models))
    styles = model_styles(data.models)
    for axis, axes in panels.items():
        axes.set(xlabel="root of the divergence per response, \u221anats")
        axes.margins(0.12)
        of_axis = [training for training in trainings if training[0]["axis"] == axis.name]
        if not of_axis:
            not_measured(axes)
            axes.set_yticks([])
        for row, estimate in of_axis:
            root, score, style = row["root_kl"], row["score"], styles[row["model"]]
            line: dict[str, Any] = {"color": style.colour, "linewidth": 1.8, "zorder": 3}
            axes.plot([row["root_kl_low"], row["root_kl_high"]], [score, score], **line)
            if estimate:
                axes.plot([root, root], [estimate.low, estimate.high], **line)
            draw_marker(axes, root, score, style, size=9, hollow=not estimate)
    next(iter(panels.values())).set_ylabel("mean score")
    shown = {row["model"] for row in rows}
    add_legend(figure, {model: style for model, style in styles.items() if model in shown})
    kls = [item.kl_per_sequence for item in data.findings.divergences]
    methods = sorted({kl.method for kl in kls if kl and kl.method})
    several = " Open markers: one training seed of several, scores without interval."
    return Plot(
        figure=figure,
        data=list(rows),
        title="Score and distance from the base",
        caption=(
            "Across: the root of the Kullback-Leibler divergence from the base, estimated by the"
            " mean log-ratio of whole responses that the model drew itself"
            f" ({numbers_of_prompts(row['samples'] for row in rows)} samples;"
            f" 95\u00a0% intervals{', ' + ', '.join(methods) if methods else ''}); an estimate"
            f" below 0 is drawn at 0. Up: mean score of the judge {data.judge} on the study's"
            " responses."
            + (several if None in estimates else "")
            + (f" {intervals_in_words(estimates)}" if any(estimates) else "")
            + " Equal distance doesn't make methods equal."
        ),
    )


def _trainings(data: FigureData, axis: Axis) -> list[tuple[dict[str, Any], Estimate | None]]:
    """Return every training whose divergence and mean score are known, and its model's estimate.

    There is no estimate where a training is one seed of several.
    """
    found: list[tuple[dict[str, Any], Estimate | None]] = []
    for item in data.findings.divergences:
        if item.model not in data.models:
            continue
        scored = data.scores(axis, item.model)
        scores = [score for row, score in scored if row.seed == item.seed]
        kl = item.kl_per_sequence
        if not scores or (kl is None and item.model != data.analysis.base):
            continue
        # What is below 0 is taken as 0, as is the base.
        ends = (kl.low, kl.value, kl.high) if kl else (0.0, 0.0, 0.0)
        low, root, high = (math.sqrt(max(0.0, end)) for end in ends)
        several = len({row.seed for row, _ in scored}) > 1
        estimate = data.estimates(score_of(axis))[data.models.index(item.model)]
        estimate = None if several else estimate
        row = {
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
        found.append((row, estimate))
    return found
