"""Squares of numbered rows and columns with a text in each cell: shared by several figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import INK, MUTED, not_measured, row_height, wrap_label
from alignstudy.records import Axis

Cells = dict[tuple[int, int], tuple[str, float | None]]
"""(row, column) -> text, and strength from -1 (orange) to 1 (blue), or None for grey."""

_LOW, _HIGH = (213, 94, 0), (0, 114, 178)
_STRONGEST = 0.55


def draw_matrices(
    names: Sequence[str], cells: Mapping[Axis, Cells], *, most_beside: int, row: float
) -> Figure:
    """Draw a matrix for each axis: side by side where few names leave room, else stacked.

    Args:
        names: Of rows and columns.
        cells: By axis; empty where nothing was measured.
        most_beside: So many names leave room.
        row: Least height of a row, inches.
    """
    beside = len(names) <= most_beside
    height = 0.9 + len(names) * max(row, row_height(names))
    figure, panels = axis_panels(
        tuple(cells), height if beside else 2 * height, beside=beside, pad=12
    )
    for number, (axis, axes) in enumerate(panels.items()):
        _draw_matrix(axes, names, cells[axis], name_rows=number == 0 or not beside)
        if not cells[axis]:
            not_measured(axes)
    return figure


def _draw_matrix(axes: Axes, names: Sequence[str], cells: Cells, *, name_rows: bool) -> None:
    """Draw a matrix whose rows are numbered, and named where asked, its columns numbered alone."""
    for (row, column), (text, strength) in cells.items():
        colour = "#f0f2f4" if strength is None else shade(strength)
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white")
        box.set_linewidth(2.0)
        axes.add_patch(box)
        label = axes.text(column, row, text, ha="center", va="center", in_layout=False)
        label.set(fontsize=10, linespacing=1.15, color=MUTED if strength is None else INK)
    count = len(names)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.grid(visible=False)
    axes.set_xticks(range(count), [str(i + 1) for i in range(count)])
    labels = [f"{wrap_label(name)}  {i}" for i, name in enumerate(names, start=1)]
    axes.set_yticks(range(count), labels if name_rows else [str(i + 1) for i in range(count)])
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelsize=11, labelcolor=INK)
    for side in ("left", "bottom", "top", "right"):
        axes.spines[side].set_visible(False)


def shade(strength: float) -> str:
    """Return a colour from orange (-1) over white (0) to blue (1), light enough for dark text."""
    strength = max(-1.0, min(1.0, strength))
    end = _HIGH if strength > 0 else _LOW
    share = _STRONGEST * abs(strength)
    return "#" + "".join(f"{round(255 + share * (part - 255)):02x}" for part in end)
