"""How well-formed the responses are: the share of each flag by model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alignstudy.plots.base import AXIS_TITLES, FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    INK,
    MUTED,
    RULE,
    in_house_style,
    label_rows,
    model_style,
    new_figure,
    not_measured,
    row_height,
)
from alignstudy.records import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    flags = list(dict.fromkeys(row["flag"] for row in rows))
    height = 0.75 + len(data.models) * max(0.36, row_height(data.models))
    figure = new_figure(len(AXIS_TITLES) * height)
    panels = figure.subplots(len(AXIS_TITLES), 1)
    for axes, (axis, title) in zip(panels, AXIS_TITLES.items(), strict=True):
        axes.set_title(title, pad=10)
        _lay_out(axes, data, flags)
        found = [row for row in rows if row["axis"] == str(axis)]
        if all(row["percent"] is None for row in found):
            not_measured(axes)
        for model in data.models:
            _draw_bars(axes, data, flags, [row for row in found if row["model"] == model])
    return Plot(figure=figure, data=rows, title="Hygiene of responses", caption=_caption(data))


def _rows(data: FigureData) -> list[dict[str, Any]]:
    """Return every share as a row of the figure's data."""
    return [
        {"axis": str(axis), "model": model, "flag": flag, "percent": percent}
        for axis in Axis
        for model in data.models
        for flag, percent in data.hygiene.get(model, {}).get(axis, {}).items()
    ]


def _lay_out(axes: Axes, data: FigureData, flags: Sequence[str]) -> None:
    """Put models down the side and flags along the top, a faint scale for each."""
    label_rows(axes, data.models)
    axes.set_xlim(-0.05, len(flags))
    axes.grid(visible=False)
    names = [_NAMES.get(flag, flag.replace("_", " ")) for flag in flags]
    axes.set_xticks([place + _BAR / 2 for place in range(len(flags))], names)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelcolor=INK)
    for side in ("bottom", "top"):
        axes.spines[side].set_visible(False)
    axes.vlines(range(len(flags)), -0.5, len(data.models) - 0.5, color=RULE, linewidth=1.0)


def _draw_bars(
    axes: Axes, data: FigureData, flags: Sequence[str], rows: Sequence[dict[str, Any]]
) -> None:
    """Draw one model's shares: bars whose full length is 100 %, and the number after each."""
    if not rows:
        return
    place = data.models.index(rows[0]["model"])
    bars = [(flags.index(row["flag"]), row["percent"]) for row in rows]
    axes.broken_barh(
        [(left, _BAR * (percent or 0.0) / 100) for left, percent in bars],
        (place - _BAR_HEIGHT / 2, _BAR_HEIGHT),
        facecolor=model_style(data.models, rows[0]["model"]).colour, linewidth=0,
    )  # fmt: skip
    for left, percent in bars:
        axes.text(
            left + _BAR * (percent or 0.0) / 100 + 0.04, place, share_text(percent), va="center",
            fontsize=9.5, color=MUTED if percent is None else INK, in_layout=False,
        )  # fmt: skip


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
        sum(row.axis is axis and row.model == model for row in data.responses)
        for axis in Axis
        for model in data.models
    ]
    return (
        "Percent of responses with each flag; a full bar is 100\u00a0%. A response can have several"
        " flags. Counted in the text by rule, the cap by the generator's own stop reason (?: not"
        " recorded); no interval is drawn. Responses for each model and axis:"
        f" {numbers_of_prompts(n for n in counts if n)}."
    )
