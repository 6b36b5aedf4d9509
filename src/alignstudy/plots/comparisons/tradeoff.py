"""The rates of two axes against each other: the trade-off that their mean hides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from alignstudy.formatting import listing
from alignstudy.metrics.figures import rate_of
from alignstudy.plots.base import FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.panels import MOST_BESIDE
from alignstudy.plots.style import (
    MUTED,
    add_legend,
    draw_marker,
    model_style,
    model_styles,
    new_figure,
)
from alignstudy.records import Axis

_DRAWS = 4_000
_SEED = 0
_LEVEL = 0.95
_LEAST_SPAN = 24.0


@dataclass(frozen=True, kw_only=True)
class _Point:
    """One model: its two rates, and the standard errors and correlation of the bootstrap."""

    model: str
    x: float
    y: float
    sd_x: float
    sd_y: float
    correlation: float
    n_x: int
    n_y: int


def draw(data: FigureData) -> Plot:
    """Trade-off: one rate against another by model, with 95 % bootstrap ellipses."""
    rng = np.random.default_rng(_SEED)
    # The axis that stands first goes upwards, as the published study's readers expect.
    found = {(x, y): _points(data, x, y, rng) for y, x in combinations(data.axes, 2)}
    shown = {pair: points for pair, points in found.items() if points}
    if not shown:
        raise NothingToShow("trade-off: no model has the rates of two axes")
    columns = min(len(shown), MOST_BESIDE)
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(5.6 * rows)
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for spare in grid.flatten()[len(shown) :]:
        spare.set_axis_off()
    data_rows: list[dict[str, Any]] = []
    for axes, ((x, y), points) in zip(grid.flatten(), shown.items(), strict=False):
        places = [(point.x, point.y) for point in points]
        # Points that no other is at least as good as on both axes and better on one.
        front = [
            p
            for p, (a, b) in zip(points, places, strict=True)
            if not any(c >= a and d >= b and (c, d) != (a, b) for c, d in places)
        ]
        axes.set(xlabel=_label(x, brief=len(shown) > 1), ylabel=_label(y, brief=len(shown) > 1))
        _draw_panel(axes, data, points, front)
        names = {"x_metric": rate_of(x).name, "y_metric": rate_of(y).name}
        data_rows += [asdict(p) | names | {"dominated": p not in front} for p in points]
    drawn = [point for points in shown.values() for point in points]
    models = {point.model for point in drawn}
    styles = {model: style for model, style in model_styles(data.models).items() if model in models}
    add_legend(figure, styles, details=_details(data) if len(shown) == 1 else None)
    numbers = numbers_of_prompts(n for p in drawn for n in (p.n_x, p.n_y))
    flat = any(p.sd_x == 0 or p.sd_y == 0 for p in drawn)
    return Plot(
        figure=figure,
        data=data_rows,
        title=f"Trade-off of {listing([axis.quality for axis in data.axes])}",
        caption=(
            "Further up and further right is better. Ellipses: 95\u00a0% regions by bootstrap over"
            f" prompts ({_DRAWS:,} draws, normal approximation); {numbers} prompts an axis. Shaded:"
            " no better than some model on either rate; a model there has an open marker. Judge:"
            f" {data.judge}."
            + (" An ellipse without width: every response was rated alike." if flat else "")
        ),
    )


def _label(axis: Axis, *, brief: bool) -> str:
    rate = rate_of(axis)
    if brief:
        return f"{rate.short}, percent"
    return f"{rate.title}: {axis.prompts} prompts {axis.answered}, percent"


def _details(data: FigureData) -> dict[str, str]:
    """Write every model's rates, the last axis' first."""
    rates = [rate for rate in reversed(data.analysis.rates) if len(rate.axes) == 1]
    return {
        model.model: ", ".join(
            f"{rate.short} {estimate.value:.1f}"
            for rate in rates
            if (estimate := model.estimates.get(rate.name)) is not None
        )
        for model in data.analysis.models
    }


def _draw_panel(
    axes: Axes, data: FigureData, points: Sequence[_Point], front: Sequence[_Point]
) -> None:
    """Draw all models in one pair of rates, each with an ellipse.

    An ellipse holds 95 % of the draws of a normal distribution.
    """
    radius = math.sqrt(-2.0 * math.log(1.0 - _LEVEL))
    axes.grid(visible=True, axis="both")
    _draw_ground(axes, points, front)
    places = [(point.x, point.y) for point in points]
    for number, point in enumerate(points):
        # Models at one place are drawn around each other, not over each other.
        size = 10 + 5 * places[number + 1 :].count(places[number])
        style = model_style(data.models, point.model)
        covariance = point.correlation * point.sd_x * point.sd_y
        values, vectors = np.linalg.eigh([[point.sd_x**2, covariance], [covariance, point.sd_y**2]])
        minor, major = 2.0 * radius * np.sqrt(np.maximum(values, 0.0))
        angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
        for fill, opacity, width in ((True, 0.10, 0.0), (False, 0.9, 1.4)):
            shape = Ellipse((point.x, point.y), major, minor, angle=angle, fill=fill, alpha=opacity)
            shape.set(facecolor=style.colour, edgecolor=style.colour, linewidth=width, zorder=2)
            axes.add_patch(shape)
        hollow = point not in front
        draw_marker(axes, point.x, point.y, style, size=size, hollow=hollow, edge=2.0)


def _points(data: FigureData, x: Axis, y: Axis, rng: np.random.Generator) -> list[_Point]:
    """Return every model with both rates, in the study's order."""
    points = []
    rates = (data.estimates(rate_of(axis)) for axis in (x, y))
    for model, ours, theirs in zip(data.models, *rates, strict=True):
        passed = [data.by_prompt(axis, model, passed=True) for axis in (x, y)]
        if ours is None or theirs is None or any(np.isnan(row).all() for row in passed):
            continue
        covariance = np.cov(np.stack([resampled_rates(row, rng) for row in passed]))
        sd_x, sd_y = (math.sqrt(covariance[i, i]) for i in range(2))
        product = sd_x * sd_y
        points.append(
            _Point(
                model=model,
                x=ours.value,
                y=theirs.value,
                sd_x=sd_x,
                sd_y=sd_y,
                correlation=float(covariance[0, 1]) / product if product else 0.0,
                n_x=ours.n,
                n_y=theirs.n,
            )
        )
    return points


def resampled_rates(
    passed: NDArray[np.float64], rng: np.random.Generator, *, draws: int = _DRAWS
) -> NDArray[np.float64]:
    """Return a rate, in percent, of each of many resamples of prompts with replacement.

    A resample's rate depends only on how often each distinct share is drawn, which is multinomial:
    so that is drawn, and 5,000 prompts cost no more than 50.

    Args:
        passed: Shape (prompts,): share of the seeds' responses that count; NaN is left out.
        rng: Draws the resamples.
        draws: Their number.

    Returns:
        Shape (draws,).

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    shares, counts = np.unique(passed[~np.isnan(passed)], return_counts=True)
    num_prompts = counts.sum()
    drawn = rng.multinomial(num_prompts, counts / num_prompts, size=draws)
    rates: NDArray[np.float64] = 100.0 * (drawn @ shares) / num_prompts
    return rates


def _draw_ground(axes: Axes, points: Sequence[_Point], front: Sequence[_Point]) -> None:
    """Show every ellipse and at least a quarter of the scale; shade what the front dominates."""
    for name, scale in (("x", axes.xaxis), ("y", axes.yaxis)):
        values = [(getattr(p, name), 2.7 * getattr(p, f"sd_{name}")) for p in points]
        low, high = min(v - r for v, r in values), max(v + r for v, r in values)
        spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
        low = max(-3.0, min(low - spare, 103.0 - _LEAST_SPAN))
        high = min(103.0, max(high + spare, low + _LEAST_SPAN))
        ticks = scale.get_major_locator().tick_values(low, high)
        scale.set_ticks([tick for tick in ticks if low <= tick <= high and 0 <= tick <= 100])
        scale.axes.set(**{f"{scale.axis_name}lim": (low, high)})
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    corners = []
    height = bottom
    for point in sorted(front, key=lambda p: (-p.x, p.y)):
        corners += [(point.x, height), (point.x, point.y)]
        height = point.y
    xs = [x for x, _ in corners] + [left, left]
    ys = [y for _, y in corners] + [height, bottom]
    axes.fill(xs, ys, facecolor="#f3f5f7", edgecolor="none", zorder=0.5)
    dashes = (0, (2, 2))
    axes.plot(xs[:-1], ys[:-1], color=MUTED, linewidth=1.0, linestyle=dashes, zorder=1.5)
