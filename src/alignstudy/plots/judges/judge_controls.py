"""Control texts for judges: what an empty, looping or shuffled answer does to the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

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
    ModelStyle,
    draw_marker,
    in_house_style,
    label_rows,
    new_figure,
    not_measured,
    one_line,
    other_styles,
)
from alignstudy.records import Axis, Estimate
from alignstudy.records.evidence import JudgeQuality, ProbeShift

_NAMES = {
    "dont_understand": "'I don't understand'",
    "human_turn": "further Human: turn",
    "shuffled": "words shuffled",
    "truncated": "cut in half",
}


@in_house_style
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
            _draw_panel(axes, quality, axis, probes, styles[quality.judge])
        for axes in panels[1:]:
            axes.set_yticks([])
    shifts = (item.shift for quality in judges for item in quality.probes)
    return Plot(
        figure=figure,
        data=[_row(quality, item) for quality in judges for item in quality.probes],
        title="Control texts for judges",
        caption=(
            "Mean score of a control text minus that of the response that people preferred, on the"
            " same prompts. A judge that reads what is written scores worthless texts lower: left"
            f" of 0. Open marker: the interval holds 0. {intervals_in_words(shifts)}"
        ),
    )


def _draw_panel(
    axes: Axes, quality: JudgeQuality, axis: Axis, probes: Sequence[str], style: ModelStyle
) -> None:
    """Draw one judge's shifts on one axis."""
    found = {item.probe: item for item in quality.probes if item.axis == axis.name}
    if found:
        axes.axvline(0, color=MUTED, linewidth=1.2, zorder=2)
        axes.margins(x=0.08)
    else:
        not_measured(axes)
    rows = [row for row, probe in enumerate(probes) if probe in found]
    shifts = [found[probes[row]].shift for row in rows]
    lows, highs = [s.low for s in shifts], [s.high for s in shifts]
    axes.hlines(rows, lows, highs, color=style.colour, linewidth=2.2, zorder=3)
    for hollow in (False, True):
        points = [(s.value, r) for s, r in zip(shifts, rows, strict=True) if hollow == _holds_0(s)]
        draw_marker(axes, [x for x, _ in points], [y for _, y in points], style, hollow=hollow)
    label_rows(axes, [_NAMES.get(probe, probe.replace("_", " ")) for probe in probes])


def _holds_0(estimate: Estimate) -> bool:
    """Whether an interval holds 0."""
    return estimate.low <= 0 <= estimate.high


def _row(quality: JudgeQuality, item: ProbeShift) -> dict[str, Any]:
    """Return a probe as a row of the figure's data."""
    row = {"judge": quality.judge, "axis": item.axis, "probe": item.probe}
    shift = {"shift": item.shift.value} | columns(item.shift, "low", "high", "n", "method")
    return row | shift | columns(item, "flipped", "passed")
