"""How figures look: colours, markers, sizes, labels.

The palette is Okabe and Ito's, which stays apart for colour-blind readers (Source: Okabe and Ito
2008, "Color Universal Design"), its yellow darkened to show on white; markers say the same again
for print in grey.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

INK, MUTED, RULE = "#1f2328", "#57606a", "#d0d7de"
WIDTH, NARROW = 9.0, 6.0
"""Inches: of most figures, and of one with a single panel."""
LABEL_WIDTH, LABEL_LINES = 20, 3
LEGEND_COLUMNS = 4
MANY_POINTS = 1_500
"""From so many points on, a cloud of them goes into an SVG as a picture, not as shapes."""
_COLOURS = (
    *("#4d4d4d", "#0072B2", "#D55E00", "#009E73"),
    *("#CC79A7", "#E69F00", "#56B4E9", "#B39B00"),
)
_MARKERS = "osD^vPX*"
_SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 11.0,
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": "#eaeef2",
    "grid.linewidth": 1.0,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 11.0,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "alignstudy",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class ModelStyle:
    """A model's colour and marker, the same in every figure."""

    colour: str
    marker: str


def model_style(models: Sequence[str], model: str) -> ModelStyle:
    """Return a model's colour and marker by its place in the study."""
    place = list(models).index(model)
    turn = place + place // len(_COLOURS)
    return ModelStyle(_COLOURS[place % len(_COLOURS)], _MARKERS[turn % len(_MARKERS)])


def model_styles(models: Sequence[str]) -> dict[str, ModelStyle]:
    """Return the colour and marker of every model."""
    return {model: model_style(models, model) for model in models}


def other_styles(names: Sequence[str]) -> dict[str, ModelStyle]:
    """Return colours and markers of judges or trainings; grey is left to the base model."""
    return {name: model_style(["", *names], name) for name in names}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save as this package does, whatever the user's matplotlibrc says.

    A model's name may hold characters that the font has no picture of: a box is drawn for it.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(height: float, *, num_columns: int = 2) -> Figure:
    """Make an empty figure, in inches, on a canvas of its own: no pyplot, nothing global."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.05)
    figure = Figure(figsize=(WIDTH if num_columns > 1 else NARROW, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def wrap_label(name: str) -> str:
    """Break a long name over lines, after a joint where there is one; cut it after three."""
    pieces = re.findall(r"[^\s_+\-/.>]*[\s_+\-/.>]?", name)
    chunks = [piece[i : i + LABEL_WIDTH] for piece in pieces for i in range(0, len(piece), 20)]
    lines = [""]
    for chunk in chunks:
        if lines[-1] and len(lines[-1] + chunk.rstrip()) > LABEL_WIDTH:
            lines.append("")
        lines[-1] += chunk
    if len(lines) > LABEL_LINES:
        lines = [*lines[: LABEL_LINES - 1], lines[LABEL_LINES - 1][: LABEL_WIDTH - 3] + "..."]
    return "\n".join(line.strip() for line in lines)


def row_height(names: Sequence[str]) -> float:
    """Return the height in inches that a row of a figure needs for its longest label."""
    return 0.2 + 0.2 * max((_num_lines(name) for name in names), default=1)


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names down the left side, first on top, with no line across them."""
    axes.set_yticks(range(len(names)), [wrap_label(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def one_line(name: str) -> str:
    """Return a name cut to what a legend has room for, on one line."""
    return name if len(name) <= LABEL_WIDTH * 2 else name[: LABEL_WIDTH * 2 - 3] + "..."


def legend_height(names: Sequence[str]) -> float:
    """Return the inches that `add_legend` takes above the panels."""
    num_rows = -(-len(names) // LEGEND_COLUMNS)
    columns = [names[i : i + num_rows] for i in range(0, len(names), max(1, num_rows))]
    return max((0.2 + 0.19 * sum(_num_lines(name) for name in c) for c in columns), default=0.0)


def _num_lines(name: str) -> int:
    return wrap_label(name).count("\n") + 1


def add_legend(
    figure: Figure,
    styles: Mapping[str, ModelStyle],
    *,
    line: bool = False,
    details: Mapping[str, str] | None = None,
) -> None:
    """Draw names with their markers above the panels; with details, beside them.

    Args:
        figure: Where to draw it.
        styles: Name -> how it is drawn.
        line: Draw a piece of line through each marker.
        details: Name -> what is written under it.
    """
    handles = [
        Line2D(
            [],
            [],
            linestyle="-" if line else "none",
            linewidth=2,
            marker=style.marker,
            color=style.colour,
            markersize=7,
        )
        for style in styles.values()
    ]
    figure.legend(
        handles,
        [
            f"{wrap_label(name)}\n{details[name]}" if details else wrap_label(name)
            for name in styles
        ],
        loc="outside right upper" if details else "outside upper left",
        ncols=1 if details else min(LEGEND_COLUMNS, len(styles) or 1),
    )


def not_measured(axes: Axes) -> None:
    """Write in a panel that there is nothing to show."""
    middle: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, "not measured", color=MUTED, style="italic", **middle)
    axes.set_xticks([])
    axes.grid(visible=False)


def draw_marker(
    axes: Axes,
    x: float | Sequence[float],
    y: float | Sequence[float],
    style: ModelStyle,
    *,
    hollow: bool = False,
    size: float = 8.5,
    edge: float = 1.8,
) -> Line2D:
    """Draw one marker or several, filled or open."""
    [markers] = axes.plot(
        x,
        y,
        linestyle="none",
        marker=style.marker,
        markersize=size,
        markerfacecolor="white" if hollow else style.colour,
        markeredgecolor=style.colour,
        markeredgewidth=edge,
        zorder=4,
    )
    return markers


def draw_curve(
    axes: Axes, x: Sequence[float], y: Sequence[float], style: ModelStyle, **settings: object
) -> None:
    """Draw a line with markers; settings are those of `Axes.plot`."""
    given: dict[str, Any] = {"marker": style.marker, "markersize": 6, "zorder": 3} | settings
    axes.plot(x, y, color=style.colour, linewidth=1.8, **given)


def draw_cloud(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    style: ModelStyle,
    *,
    many: bool,
    alpha: float,
) -> None:
    """Draw a cloud of points; many are smaller and paler, and a picture within an SVG."""
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=style.marker,
        markersize=2.5 if many else 5,
        color=style.colour,
        alpha=alpha / 2 if many else alpha,
        markeredgewidth=0,
        zorder=3,
        rasterized=many,
    )


def threshold_line(
    axes: Axes, threshold: float | None, *, vertical: bool = True, over: bool = False
) -> None:
    """Draw the score above which a response counts; nothing if there is none.

    It lies under the points, or with `over` across filled bars, set off from them in white.
    """
    if threshold is None:
        return
    line = axes.axvline if vertical else axes.axhline
    if over:
        line(threshold, color="white", linewidth=3.2, zorder=4.5)
    line(threshold, color=INK, linewidth=1.5, linestyle=(0, (5, 2.5)), zorder=4.6 if over else 2.5)
