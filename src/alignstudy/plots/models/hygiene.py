"""How well-formed the responses are: the share of each flag by model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from alignstudy.plots.base import FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    INK,
    MUTED,
    RULE,
    in_house_style,
    label_rows,
    model_style,
    not_measured,
    row_height,
)

FLAGS = (
    *("empty", "cap", "role_tag", "repetition", "loop", "echo"),
    *("refusal", "evasive", "incoherent", "comply"),
)
"""Shares of `Hygiene` that are shown, in this order."""

_NAMES = {
    "cap": "cap\nreached",
    "role_tag": "further\nturn",
    "repetition": "repeats",
    "incoherent": "no\nlanguage",
    "comply": "answers",
}
_BAR, _BAR_HEIGHT = 0.54, 0.56


@in_house_style
def draw(data: FigureData) -> Plot:
    """Hygiene: share of empty, cut, running-on, repeating and refusing responses by model."""
    rows = _rows(data)
    if not any(row["percent"] is not None for row in rows):
        raise NothingToShow("hygiene: no response was looked at")
    height = 0.75 + len(data.models) * max(0.36, row_height(data.models))
    figure, panels = axis_panels(data.axes, len(data.axes) * height, beside=False, pad=10)
    for axis, axes in panels.items():
        _lay_out(axes, data)
        found = [row for row in rows if row["axis"] == axis.name]
        if all(row["percent"] is None for row in found):
            not_measured(axes)
        for place, model in enumerate(data.models):
            colour = model_style(data.models, model).colour
            _draw_bars(axes, place, colour, [row for row in found if row["model"] == model])
    return Plot(figure=figure, data=rows, title="Hygiene of responses", caption=_caption(data))


def _rows(data: FigureData) -> list[dict[str, Any]]:
    """Return every share as a row of the figure's data."""
    return [
        {
            "axis": axis.name,
            "model": model.model,
            "flag": flag,
            "percent": getattr(model.hygiene[axis.name], flag),
        }
        for axis in data.axes
        for model in data.analysis.models
        if axis.name in model.hygiene
        for flag in FLAGS
    ]


def _lay_out(axes: Axes, data: FigureData) -> None:
    """Write models down the side and flags along the top, a faint scale for each."""
    label_rows(axes, data.models)
    axes.set_xlim(-0.05, len(FLAGS))
    axes.grid(visible=False)
    names = [_NAMES.get(flag, flag.replace("_", " ")) for flag in FLAGS]
    axes.set_xticks([place + _BAR / 2 for place in range(len(FLAGS))], names)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelcolor=INK)
    for side in ("bottom", "top"):
        axes.spines[side].set_visible(False)
    axes.vlines(range(len(FLAGS)), -0.5, len(data.models) - 0.5, color=RULE, linewidth=1.0)


def _draw_bars(axes: Axes, place: int, colour: str, rows: Sequence[dict[str, Any]]) -> None:
    """Draw one model's shares: bars whose full length is 100 %, and the number after each."""
    if not rows:
        return
    bars = [(FLAGS.index(row["flag"]), row["percent"]) for row in rows]
    axes.broken_barh(
        [(left, _BAR * (percent or 0.0) / 100) for left, percent in bars],
        (place - _BAR_HEIGHT / 2, _BAR_HEIGHT),
        facecolor=colour,
        linewidth=0,
    )
    for left, percent in bars:
        axes.text(
            left + _BAR * (percent or 0.0) / 100 + 0.04,
            place,
            share_text(percent),
            va="center",
            fontsize=9.5,
            color=MUTED if percent is None else INK,
            in_layout=False,
        )


def share_text(percent: float | None) -> str:
    """Write a share without decimals; what is neither 0 nor 100 % is not written as that."""
    if percent is None:
        return "?"
    if 0 < percent <= 0.5:
        return "<1"
    return ">99" if 99.5 <= percent < 100 else f"{percent:.0f}"


def _caption(data: FigureData) -> str:
    """Return what is counted, and that flags can fall together."""
    counts = [
        sum(row.axis == axis.name and row.model == model for row in data.responses)
        for axis in data.axes
        for model in data.models
    ]
    return (
        "Percent of responses with each flag; a full bar is 100\u00a0%. A response can have several"
        " flags. Counted in the text by rule, the cap by the generator's own stop reason (?: not"
        " recorded); no interval is drawn. Responses for each model and axis:"
        f" {numbers_of_prompts(n for n in counts if n)}."
    )
