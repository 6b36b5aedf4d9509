"""Each prompt's two scores, the base model's and another's: where a difference comes from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alignstudy.plots.base import AXIS_TITLES, FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    MANY_POINTS,
    MUTED,
    in_house_style,
    model_style,
    new_figure,
    not_measured,
    wrap_label,
)
from alignstudy.records import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_Pairs = dict[tuple[Axis, str], NDArray[np.float64]]


@in_house_style
def draw(data: FigureData) -> Plot:
    """Paired scores: each prompt's score of the base model against that of each other model."""
    pairs = _pairs(data)
    if not any(found.size for found in pairs.values()):
        raise NothingToShow("paired scores: no two models have a score on the same prompt")
    num_columns = max(2, min(_COLUMNS, len(data.compared)))
    rows_an_axis = math.ceil(len(data.compared) / num_columns)
    num_rows = 1 if len(data.compared) == 1 else 2 * rows_an_axis
    lines = max(wrap_label(model).count("\n") for model in data.compared)
    figure = new_figure(0.3 + num_rows * (0.35 + 0.17 * lines + 8.6 / num_columns))
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    halves = np.split(grid, 2, axis=1 if num_rows == 1 else 0)
    for axis, panels in zip(AXIS_TITLES, halves, strict=True):
        _draw_axis(panels, data, pairs, axis)
    return Plot(
        figure=figure,
        data=[row for key in pairs for row in _rows(data, *key)],
        title=f"Scores prompt by prompt, against {data.reference}",
        caption=_caption(data, pairs),
    )


def _pairs(data: FigureData) -> _Pairs:
    """Return (axis, model) -> shape (2, prompts): scores of the reference and of the model."""
    found: _Pairs = {}
    for axis in Axis:
        means = data.table(axis).means
        for model in data.compared:
            both = means[[data.models.index(data.reference), data.models.index(model)]]
            found[axis, model] = both[:, ~np.isnan(both).any(axis=0)]
    return found


def _draw_axis(panels: NDArray[Any], data: FigureData, pairs: _Pairs, axis: Axis) -> None:
    """Draw the panels of one axis on one scale."""
    scores = [found for model in data.compared if (found := pairs[axis, model]).size]
    low, high = _span(scores)
    num_columns = panels.shape[1]
    for number, axes in enumerate(panels.flatten()):
        if number >= len(data.compared):
            axes.set_axis_off()
            continue
        model = data.compared[number]
        axes.set_title(wrap_label(model), fontsize=12 if len(data.compared) < _COLUMNS else 9.5)
        _set_scales(axes, low, high)
        axes.tick_params(
            labelleft=number % num_columns == 0,
            labelbottom=number + num_columns >= len(data.compared),
        )
        if pairs[axis, model].size:
            _draw_panel(axes, data, pairs[axis, model], axis, model)
        else:
            not_measured(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{AXIS_TITLES[axis]}:\nthe model's score")
    for axes in panels[-1]:
        axes.set_xlabel(f"score of {wrap_label(data.reference)}")


def _set_scales(axes: Axes, low: float, high: float) -> None:
    """Return both directions the same limits and ticks."""
    from matplotlib.ticker import MaxNLocator

    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(visible=True, axis="both")


def _span(scores: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the limits of both scales: all scores with room at the ends."""
    if not scores:
        return 0.0, 1.0
    low = min(float(found.min()) for found in scores)
    high = max(float(found.max()) for found in scores)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _draw_panel(
    axes: Axes, data: FigureData, both: NDArray[np.float64], axis: Axis, model: str
) -> None:
    """Draw one model's points about the diagonal, the thresholds, and how many lie above."""
    style = model_style(data.models, model)
    many = both.shape[1] > MANY_POINTS
    axes.axline((0, 0), slope=1, color=MUTED, linewidth=1.0, zorder=2)
    threshold = data.thresholds.get(axis)
    if threshold is not None:
        dashes: dict[str, Any] = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (4, 3))}
        axes.axvline(threshold, zorder=2, **dashes)
        axes.axhline(threshold, zorder=2, **dashes)
    axes.plot(
        both[0], both[1], linestyle="none", marker=style.marker, markersize=2.5 if many else 5,
        color=style.colour, alpha=0.3 if many else 0.6, markeredgewidth=0, zorder=3,
        rasterized=many,
    )  # fmt: skip
    above, below = int((both[1] > both[0]).sum()), int((both[1] < both[0]).sum())
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    for x, y, text in ((0.04, 0.96, f"\u25b2 {above}"), (0.96, 0.04, f"\u25bc {below}")):
        axes.text(
            x, y, text, transform=axes.transAxes, fontsize=10, bbox=box, zorder=5,
            ha="left" if x < 0.5 else "right", va="top" if y > 0.5 else "bottom",
        )  # fmt: skip


def _rows(data: FigureData, axis: Axis, model: str) -> list[dict[str, Any]]:
    """Return a model's pairs as rows of the figure's data."""
    table = data.table(axis)
    base, other = (table.means[data.models.index(name)] for name in (data.reference, model))
    return [
        {
            "axis": str(axis), "model": model, "reference": data.reference, "prompt_id": prompt,
            "reference_score": float(first), "model_score": float(second),
        }
        for prompt, first, second in zip(table.prompts, base, other, strict=True)
        if not math.isnan(first + second)
    ]  # fmt: skip


def _caption(data: FigureData, pairs: _Pairs) -> str:
    """Return what a point is, and what the two numbers count."""
    counts = (found.shape[1] for found in pairs.values() if found.size)
    return (
        f"Each point is one prompt: the score of {data.reference}'s response against that of the"
        " named model's (means over training seeds). Above the diagonal the model scores higher:"
        " \u25b2 counts these prompts, \u25bc those below. Dashed lines: thresholds. No interval"
        f" is drawn. Judge: {data.judge}; prompts a panel: {numbers_of_prompts(counts)}."
    )
