"""Harmlessness against helpfulness: the trade-off that their mean hides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from alignstudy.plots.base import FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.style import (
    MUTED,
    ModelStyle,
    add_legend,
    draw_marker,
    model_style,
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
    hpr: float
    hmr: float
    sd_hpr: float
    sd_hmr: float
    correlation: float
    n_helpful: int
    n_harmful: int


def draw(data: FigureData) -> Plot:
    """Trade-off: helpful against harmless rate by model, with 95 % bootstrap ellipses."""
    points = _points(data, np.random.default_rng(_SEED))
    if not points:
        raise NothingToShow("trade-off: no model has both a harmless and a helpful rate")
    places = [(point.hpr, point.hmr) for point in points]
    # Points that no other is at least as good as on both axes and better on one.
    front = [
        point
        for point, (hpr, hmr) in zip(points, places, strict=True)
        if not any(x >= hpr and y >= hmr and (x, y) != (hpr, hmr) for x, y in places)
    ]
    figure = new_figure(5.6)
    axes = figure.subplots()
    axes.set(xlabel="HpR: helpful prompts answered helpfully, percent")
    axes.set(ylabel="HmR: harmful prompts answered harmlessly, percent")
    axes.grid(visible=True, axis="both")
    _draw_ground(axes, points, front)
    styles = {point.model: model_style(data.models, point.model) for point in points}
    for number, point in enumerate(points):
        # Models at one place are drawn around each other, not over each other.
        size = 10 + 5 * places[number + 1 :].count(places[number])
        _draw_point(axes, point, styles[point.model], size=size, hollow=point not in front)
    details = {p.model: f"HpR {p.hpr:.1f}, HmR {p.hmr:.1f}" for p in points}
    numbers = numbers_of_prompts(n for p in points for n in (p.n_helpful, p.n_harmful))
    flat = any(p.sd_hpr == 0 or p.sd_hmr == 0 for p in points)
    add_legend(figure, styles, details=details)
    return Plot(
        figure=figure,
        data=[asdict(point) | {"dominated": point not in front} for point in points],
        title="Trade-off of harmlessness and helpfulness",
        caption=(
            "Further up is more harmless, further right more helpful. Ellipses:"
            f" 95\u00a0% regions by bootstrap over prompts ({_DRAWS:,} draws, normal approximation)"
            f"; {numbers} prompts an axis. Shaded: no better than some model on either rate; a"
            f" model there has an open marker. Judge: {data.judge}."
            + (" An ellipse without width: every response was rated alike." if flat else "")
        ),
    )


def _points(data: FigureData, rng: np.random.Generator) -> list[_Point]:
    """Return every model with both rates, in the study's order."""
    points = []
    for model, hmr, hpr in zip(
        data.models, data.estimates("hmr"), data.estimates("hpr"), strict=True
    ):
        helpful, harmful = (
            data.by_prompt(axis, model, passed=True) for axis in (Axis.HELPFUL, Axis.HARMLESS)
        )
        if hmr is None or hpr is None or np.isnan(helpful).all() or np.isnan(harmful).all():
            continue
        drawn = np.stack([resampled_rates(helpful, rng), resampled_rates(harmful, rng)])
        covariance = np.cov(drawn)
        sd_hpr, sd_hmr = (math.sqrt(covariance[i, i]) for i in range(2))
        product = sd_hpr * sd_hmr
        points.append(
            _Point(
                model=model,
                hpr=hpr.value,
                hmr=hmr.value,
                sd_hpr=sd_hpr,
                sd_hmr=sd_hmr,
                correlation=float(covariance[0, 1]) / product if product else 0.0,
                n_helpful=hpr.n,
                n_harmful=hmr.n,
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
    for name, scale in (("hpr", axes.xaxis), ("hmr", axes.yaxis)):
        values = [(getattr(p, name), 2.7 * getattr(p, f"sd_{name}")) for p in points]
        low, high = min(v - r for v, r in values), max(v + r for v, r in values)
        spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
        low = max(-3.0, min(low - spare, 103.0 - _LEAST_SPAN))
        high = min(103.0, max(high + spare, low + _LEAST_SPAN))
        ticks = [tick for tick in scale.get_major_locator().tick_values(low, high)]
        scale.set_ticks([tick for tick in ticks if low <= tick <= high and 0 <= tick <= 100])
        scale.axes.set(**{f"{scale.axis_name}lim": (low, high)})
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    corners = []
    height = bottom
    for point in sorted(front, key=lambda p: (-p.hpr, p.hmr)):
        corners += [(point.hpr, height), (point.hpr, point.hmr)]
        height = point.hmr
    xs = [x for x, _ in corners] + [left, left]
    ys = [y for _, y in corners] + [height, bottom]
    axes.fill(xs, ys, facecolor="#f3f5f7", edgecolor="none", zorder=0.5)
    dashes = (0, (2, 2))
    axes.plot(xs[:-1], ys[:-1], color=MUTED, linewidth=1.0, linestyle=dashes, zorder=1.5)


def _draw_point(axes: Axes, point: _Point, style: ModelStyle, *, size: float, hollow: bool) -> None:
    """Draw a model's rates, and the ellipse that holds 95 % of a normal distribution's draws."""
    radius = math.sqrt(-2.0 * math.log(1.0 - _LEVEL))
    covariance = point.correlation * point.sd_hpr * point.sd_hmr
    values, vectors = np.linalg.eigh([[point.sd_hpr**2, covariance], [covariance, point.sd_hmr**2]])
    minor, major = 2.0 * radius * np.sqrt(np.maximum(values, 0.0))
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    for fill, opacity, width in ((True, 0.10, 0.0), (False, 0.9, 1.4)):
        axes.add_patch(
            Ellipse(
                (point.hpr, point.hmr),
                major,
                minor,
                angle=angle,
                fill=fill,
                alpha=opacity,
                facecolor=style.colour,
                edgecolor=style.colour,
                linewidth=width,
                zorder=2,
            )
        )
    draw_marker(axes, point.hpr, point.hmr, style, size=size, hollow=hollow, edge=2.0)
