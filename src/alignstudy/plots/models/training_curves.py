"""What training logged: loss by step, and for preference methods the implicit reward margin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from alignstudy.plots.base import Curve, FigureData, NothingToShow, Plot
from alignstudy.plots.style import (
    add_legend,
    in_house_style,
    legend_height,
    model_style,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUANTITIES = {"loss": "loss", "implicit_reward_margin": "implicit reward margin"}


@in_house_style
def draw(data: FigureData) -> Plot:
    """Training curves: loss by step for each method, and the margins of preference methods."""
    panels = _panels(data)
    if not panels:
        raise NothingToShow("training curves: nothing was trained, or nothing was logged")
    num_rows = math.ceil(len(panels) / 2)
    labels = list(dict.fromkeys(curve.label for curve in data.curves))
    figure = new_figure(0.4 + legend_height(labels) + 3.2 * num_rows)
    grid = figure.subplots(num_rows, 2, squeeze=False).flatten()
    rows = []
    for axes, (method, quantity) in zip(grid, panels, strict=False):
        axes.set(title=f"{method}: {_QUANTITIES[quantity]}", xlabel="step")
        axes.grid(visible=True, axis="y")
        for curve in data.curves:
            if curve.method == method:
                rows += _draw_curve(axes, curve, quantity, labels)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    # Grey is kept for the base model, which is not trained: curves begin at the second colour.
    add_legend(figure, {label: model_style(["", *labels], label) for label in labels}, line=True)
    return Plot(figure=figure, data=rows, title="Training curves", caption=_caption(data))


def _panels(data: FigureData) -> list[tuple[str, str]]:
    """Return the (method, quantity) pairs that something was logged for, methods in their order."""
    methods = dict.fromkeys(curve.method for curve in data.curves)
    return [
        (method, quantity)
        for method in methods
        for quantity in _QUANTITIES
        if any(_logged(curve, quantity) for curve in data.curves if curve.method == method)
    ]


def _logged(curve: Curve, quantity: str) -> list[tuple[float, float]]:
    """Return (step, value) of the finite values that a training logged of a quantity."""
    return [
        (point["step"], point[quantity])
        for point in curve.points
        if isinstance(point.get("step"), (int, float))
        and isinstance(point.get(quantity), (int, float))
        and math.isfinite(point[quantity])
    ]


def _draw_curve(axes: Axes, curve: Curve, quantity: str, labels: list[str]) -> list[dict[str, Any]]:
    """Draw one curve; return its points."""
    points = _logged(curve, quantity)
    if not points:
        return []
    style = model_style(["", *labels], curve.label)
    axes.plot(
        [step for step, _ in points], [value for _, value in points], color=style.colour,
        linewidth=1.8, marker=style.marker if len(points) < 30 else None, markersize=5,
    )  # fmt: skip
    return [
        {
            "training": curve.label, "method": curve.method, "quantity": quantity,
            "step": step, "value": value,
        }
        for step, value in points
    ]  # fmt: skip


def _caption(data: FigureData) -> str:
    """Return what is drawn, and warn of reading losses across methods."""
    names = "implicit reward margin = beta times the log-ratio of chosen minus that of rejected"
    return (
        f"As logged while training ({len(data.curves)} trainings; {names}). Losses of different"
        " methods have different units and can't be compared. No interval: each curve is one run."
    )
