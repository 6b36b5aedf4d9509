"""Control texts for judges: what an empty, looping or shuffled answer does to the score."""

from __future__ import annotations

from typing import Any

from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    axis_title,
    columns,
    intervals_in_words,
)
from alignstudy.plots.style import (
    MUTED,
    draw_marker,
    label_rows,
    new_figure,
    not_measured,
    one_line,
    other_styles,
)

_NAMES = {
    "dont_understand": "'I don't understand'",
    "human_turn": "further Human: turn",
    "shuffled": "words shuffled",
    "truncated": "cut in half",
}


def draw(data: FigureData) -> Plot:
    """Judge controls: how far the score of a control text lies from that of a good response."""
    judges = [quality for quality in data.findings.qualities if quality.probes]
    if not judges:
        raise NothingToShow("judge controls: no judge was given control texts")
    probes = list(dict.fromkeys(item.probe for quality in judges for item in quality.probes))
    styles = other_styles([quality.judge for quality in judges])
    figure = new_figure(len(judges) * (1.25 + 0.36 * len(probes)))
    grid: Any = figure.subplots(len(judges), len(data.axes), squeeze=False, sharex="row")
    for quality, panels in zip(judges, grid, strict=True):
        for axes, axis in zip(panels, data.axes, strict=True):
            first = axes is panels[0]
            axes.set_title(f"{one_line(quality.judge) if first else ''}\n{axis_title(axis)}")
            axes.set_xlabel("shift of the score, the judge's unit")
            label_rows(axes, [_NAMES.get(probe, probe.replace("_", " ")) for probe in probes])
            found = [item for item in quality.probes if item.axis == axis.name]
            if not found:
                not_measured(axes)
                continue
            axes.axvline(0, color=MUTED, linewidth=1.2, zorder=2)
            axes.margins(x=0.08)
            style = styles[quality.judge]
            for item in found:
                row, shift = probes.index(item.probe), item.shift
                axes.hlines(row, shift.low, shift.high, color=style.colour, linewidth=2.2, zorder=3)
                draw_marker(axes, shift.value, row, style, hollow=shift.low <= 0 <= shift.high)
        for axes in panels[1:]:
            axes.set_yticks([])
    shifts = (item.shift for quality in judges for item in quality.probes)
    return Plot(
        figure=figure,
        data=[
            {"judge": quality.judge, "axis": item.axis, "probe": item.probe}
            | {"shift": item.shift.value}
            | columns(item.shift, "low", "high", "n", "method")
            | columns(item, "flipped", "passed")
            for quality in judges
            for item in quality.probes
        ],
        title="Control texts for judges",
        caption=(
            "Mean score of a control text minus that of the preferred response, on the"
            " same prompts. A judge that reads what is written scores worthless texts lower: left"
            f" of 0. Open marker: the interval holds 0. {intervals_in_words(shifts)}"
        ),
    )
