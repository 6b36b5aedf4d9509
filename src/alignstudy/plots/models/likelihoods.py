"""What became of fixed pairs' likelihood while preference methods trained, by the probe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from alignstudy.plots.base import FigureData, NothingToShow, Plot
from alignstudy.plots.style import (
    MUTED,
    ModelStyle,
    add_legend,
    draw_curve,
    legend_height,
    new_figure,
    not_measured,
    other_styles,
)
from alignstudy.records.evidence import TrainingRecord

PANELS = {
    "chosen_gain": ("Chosen responses", "gain since the start, nats a token"),
    "rejected_gain": ("Rejected responses", "gain since the start, nats a token"),
    "chosen_fell": ("Chosen responses that lost likelihood", "share of pairs, %"),
    "unseen_mass": ("What is neither response", "probability where they part, %"),
}
_LINES = {"train": "-", "held_out": "--"}
_NAMES = {"train": "training pairs", "held_out": "held-out pairs"}


def draw(data: FigureData) -> Plot:
    """Likelihood of fixed pairs while training: chosen, rejected, and what is neither."""
    rows = curves(data.training)
    if not rows:
        raise NothingToShow("likelihoods: no training measured fixed pairs (probe_pairs)")
    styles = other_styles(list(dict.fromkeys(row["training"] for row in rows)))
    figure = new_figure(7.4 + legend_height(list(styles)))
    grid: Any = figure.subplots(2, 2).flatten()
    for axes, (quantity, (title, unit)) in zip(grid, PANELS.items(), strict=True):
        axes.set(title=title, xlabel="share of the training's steps, %", ylabel=unit)
        axes.set_xlim(-4, 104)
        if quantity == "chosen_fell":
            axes.set_ylim(-4, 104)
        axes.grid(visible=True, axis="both")
        _draw_panel(axes, [row for row in rows if row["quantity"] == quantity], styles)
    shown = [name for name in _LINES if any(row["pairs_of"] == name for row in rows)]
    grid[0].legend(
        [Line2D([], [], color=MUTED, linewidth=1.8, linestyle=_LINES[name]) for name in shown],
        [_NAMES[name] for name in shown],
    )
    add_legend(figure, styles, line=True)
    return Plot(
        figure=figure,
        data=rows,
        title="Likelihood of fixed pairs while training",
        caption=(
            f"The same pairs, measured again and again ({_sizes(rows)}; {_seeds(rows)}). A"
            " preference method may succeed and yet make chosen responses less likely, rejected"
            " ones even less: the probability that is left goes to what is neither. That is"
            " measured at the first token in which the two responses of a pair differ. No interval:"
            " points are means over pairs."
        ),
    )


def curves(training: Sequence[TrainingRecord]) -> list[dict[str, Any]]:
    """Return every point of the figure: the mean of a recipe's seeds at a step."""
    points: dict[tuple[str, str, int, str], list[tuple[float, float, int]]] = {}
    for record in training:
        starts = {line["part"]: line for line in record.probe if line["step"] == 0}
        for line in record.probe:
            share = 100 * line["step"] / max(1, record.steps)
            for quantity, value in _values(line, starts[line["part"]]).items():
                key = (record.recipe, line["part"], line["step"], quantity)
                points.setdefault(key, []).append((share, value, line["pairs"]))
    return [
        {
            "training": recipe,
            "pairs_of": part,
            "quantity": quantity,
            "step": step,
            "share": fmean(share for share, _, _ in found),
            "value": fmean(value for _, value, _ in found),
            "pairs": found[0][2],
            "seeds": len(found),
        }
        for (recipe, part, step, quantity), found in points.items()
    ]


def _values(line: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, float]:
    """Return the panels' quantities of one measurement; what isn't defined is left out."""
    found = {
        "chosen_gain": line["chosen_per_token"] - start["chosen_per_token"],
        "rejected_gain": line["rejected_per_token"] - start["rejected_per_token"],
        # At the start none has fallen, which says nothing.
        "chosen_fell": 100 * line["chosen_fell"] if line["step"] else math.nan,
        "unseen_mass": math.nan if line["unseen_mass"] is None else 100 * line["unseen_mass"],
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _draw_panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], styles: Mapping[str, ModelStyle]
) -> None:
    if not rows:
        not_measured(axes)
    for recipe, part in dict.fromkeys((row["training"], row["pairs_of"]) for row in rows):
        of = [row for row in rows if (row["training"], row["pairs_of"]) == (recipe, part)]
        x, y = [row["share"] for row in of], [row["value"] for row in of]
        open_ = {"markerfacecolor": "white"} if part == "held_out" else {}
        draw_curve(axes, x, y, styles[recipe], linestyle=_LINES[part], markersize=5, **open_)


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how many pairs of each kind there are, or their range."""
    said = []
    for part, name in _NAMES.items():
        sizes = sorted({row["pairs"] for row in rows if row["pairs_of"] == part})
        if sizes:
            span = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
            said.append(f"n\u00a0=\u00a0{span} {name}")
    return ", ".join(said)


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    most = max(row["seeds"] for row in rows)
    return f"means of {most} seeds" if most > 1 else "one seed a training"
