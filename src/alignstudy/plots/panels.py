"""Figures with a panel for each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignstudy.plots.base import axis_title
from alignstudy.plots.style import new_figure
from alignstudy.records import Axis

MOST_BESIDE = 3
"""Panels that fit side by side."""


def axis_panels(
    tested: Sequence[Axis],
    height: float,
    *,
    beside: bool = True,
    pad: float | None = None,
    sharey: bool = False,
) -> tuple[Figure, dict[Axis, Axes]]:
    """Make a figure with a titled panel for each axis.

    Args:
        tested: The axes.
        height: Of a row of panels if they stand side by side, else of the whole figure; inches.
        beside: Whether panels stand side by side; more than three need further rows.
        pad: Points between a title and its panel.
        sharey: Whether panels share the scale of y.
    """
    columns = (len(tested) if len(tested) <= MOST_BESIDE else 2) if beside else 1
    rows = math.ceil(len(tested) / columns)
    figure = new_figure(height * (rows if beside else 1), num_columns=columns if beside else 2)
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for spare in grid.flatten()[len(tested) :]:
        spare.set_axis_off()
    panels: dict[Axis, Axes] = dict(zip(tested, grid.flatten(), strict=False))
    for axis, axes in panels.items():
        axes.set_title(axis_title(axis), pad=pad)
        axes.grid(visible=True, axis="both")
    return figure, panels
