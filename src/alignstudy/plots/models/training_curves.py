"""What training logged: loss by step, and for preference methods the implicit reward margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from alignstudy.plots.base import FigureData, NothingToShow, Plot
from alignstudy.plots.style import (
    add_legend,
    draw_curve,
    legend_height,
    new_figure,
    other_styles,
)
from alignstudy.records.evidence import TrainingRecord

_QUANTITIES = {"loss": "loss", "implicit_reward_margin": "implicit reward margin"}


def draw(data: FigureData) -> Plot:
    """Training curves: loss by step for each method, and the margins of preference methods."""
    curves = labelled(data.training)
    methods = dict.fromkeys(record.method for _, record in curves)
    panels = [
        (method, quantity)
        for method in methods
        for quantity in _QUANTITIES
        if any(_logged(record, quantity) for _, record in curves if record.method == method)
    ]
    if not panels:
        raise NothingToShow("training curves: nothing was trained, or nothing was logged")
    num_rows = math.ceil(len(panels) / 2)
    styles = other_styles(list(dict.fromkeys(label for label, _ in curves)))
    figure = new_figure(0.4 + legend_height(list(styles)) + 3.2 * num_rows)
    grid: Any = figure.subplots(num_rows, 2, squeeze=False).flatten()
    rows = []
    for axes, (method, quantity) in zip(grid, panels, strict=False):
        axes.set(title=f"{method}: {_QUANTITIES[quantity]}", xlabel="step")
        axes.grid(visible=True, axis="y")
        for label, record in curves:
            if record.method != method or not (points := _logged(record, quantity)):
                continue
            steps, values = zip(*points, strict=True)
            few = {} if len(points) < 30 else {"marker": None}
            draw_curve(axes, steps, values, styles[label], markersize=5, **few)
            what = {"training": label, "method": method, "quantity": quantity}
            rows += [what | {"step": step, "value": value} for step, value in points]
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    add_legend(figure, styles, line=True)
    names = "implicit reward margin = beta times the log-ratio of chosen minus that of rejected"
    return Plot(
        figure=figure,
        data=rows,
        title="Training curves",
        caption=(
            f"As logged while training ({len(curves)} trainings; {names}). Losses of different"
            " methods have different units and can't be compared. No interval: each curve is one"
            " run."
        ),
    )


def labelled(training: Sequence[TrainingRecord]) -> list[tuple[str, TrainingRecord]]:
    """Return the trainings that logged a curve; labels name the seed only if there are several."""
    several = len({record.seed for record in training}) > 1
    return [
        (f"{record.recipe} (seed {record.seed})" if several else record.recipe, record)
        for record in training
        if record.curve
    ]


def _logged(record: TrainingRecord, quantity: str) -> list[tuple[float, float]]:
    """Return (step, value) of the finite values that a training logged of a quantity."""
    return [
        (point["step"], point[quantity])
        for point in record.curve
        if isinstance(point.get("step"), (int, float))
        and isinstance(point.get(quantity), (int, float))
        and math.isfinite(point[quantity])
    ]
