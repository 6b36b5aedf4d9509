"""A square of numbered rows and columns with a text in each cell: shared by several figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alignstudy.plots.style import INK, MUTED, wrap_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOW, _HIGH = (213, 94, 0), (0, 114, 178)
_STRONGEST = 0.55


def draw_matrix(
    axes: Axes,
    names: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[str, float | None]],
    *,
    name_rows: bool = True,
    font_size: float = 10.0,
) -> None:
    """Draw a matrix whose rows are named and numbered, its columns numbered alone.

    Args:
        axes: Where to draw.
        names: Of rows and columns.
        cells: (row, column) -> text, and strength from -1 (orange) to 1 (blue), or None for grey.
        name_rows: Whether to write the names; without, only their numbers.
        font_size: Of the texts, points.
    """
    from matplotlib.patches import Rectangle

    for (row, column), (text, strength) in cells.items():
        colour = "#f0f2f4" if strength is None else shade(strength)
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white")
        box.set_linewidth(2.0)
        axes.add_patch(box)
        axes.text(
            column, row, text, ha="center", va="center", fontsize=font_size, linespacing=1.15,
            color=MUTED if strength is None else INK, in_layout=False,
        )  # fmt: skip
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
