"""A panel of estimates with their intervals, one row a model: shared by several figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignstudy.plots.style import INK, ModelStyle, not_measured
from alignstudy.records import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_estimates(
    axes: Axes,
    estimates: Sequence[Estimate | None],
    styles: Sequence[ModelStyle],
    *,
    digits: int,
    hollow: Sequence[bool] | None = None,
    signed: bool = False,
) -> None:
    """Draw a marker with whiskers and the number above it for each row; None leaves it empty.

    Rows that `hollow` marks get an open marker; `signed` writes a plus before positive numbers.
    """
    if all(estimate is None for estimate in estimates):
        not_measured(axes)
        return
    for row, (estimate, style) in enumerate(zip(estimates, styles, strict=True)):
        if estimate is None:
            continue
        is_hollow = hollow is not None and hollow[row]
        draw_interval(axes, row, estimate, style, hollow=is_hollow)
        text = f"{estimate.value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212")
        axes.annotate(
            text, (estimate.value, row), xytext=(0, 7), textcoords="offset points",
            ha="center", va="bottom", fontsize=10, color=INK, zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def draw_interval(
    axes: Axes, row: float, estimate: Estimate, style: ModelStyle, *, hollow: bool = False
) -> None:
    """Draw one estimate: whiskers from low to high, marker at the value."""
    axes.plot(
        [estimate.low, estimate.high], [row, row], color=style.colour, linewidth=2.2,
        solid_capstyle="butt", zorder=3,
    )  # fmt: skip
    axes.plot(
        [estimate.value], [row], marker=style.marker, markersize=8.5, linestyle="none",
        markerfacecolor="white" if hollow else style.colour, markeredgecolor=style.colour,
        markeredgewidth=1.8, zorder=4,
    )  # fmt: skip
