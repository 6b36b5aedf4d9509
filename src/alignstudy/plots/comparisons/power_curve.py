"""How small a difference a number of prompts can show, and where this study stands."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from alignstudy.metrics.figures import rate_of
from alignstudy.plots.base import (
    FigureData,
    NothingToShow,
    Plot,
    axis_title,
    numbers_of_prompts,
)
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    INK,
    add_legend,
    draw_marker,
    legend_height,
    model_style,
    not_measured,
    wrap_label,
)
from alignstudy.records import Axis
from alignstudy.stats.power.mcnemar_design import mcnemar_detectable

_DASHES: tuple[tuple[int, tuple[int, ...] | None], ...] = ((0, None), (0, (6, 3)), (0, (2, 2)))
_NUMBERS = (20, 30, 50, 80, 130, 220, 400, 800, 2_000, 5_000)


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """One model against the reference on one axis.

    Attributes:
        discordance: Share of prompts on which just one of the two passes, 0 to 1.
        observed: Size of the difference of their rates, percentage points.
        n: Prompts that both have.
        curve: (prompts, detectable difference in points) at round numbers of prompts and at this
            study's, where there is one.
    """

    axis: Axis
    model: str
    discordance: float
    observed: float
    n: int
    curve: list[tuple[int, float]]


def draw(data: FigureData) -> Plot:
    """Power: smallest difference that is found with 80 % power, by number of prompts."""
    pairs = {axis: _pairs(data, axis) for axis in data.axes}
    found = [pair for of_axis in pairs.values() for pair in of_axis]
    if not any(pair.curve for pair in found):
        raise NothingToShow("power: no two models' pass and fail differ on any prompt")
    figure, panels = axis_panels(data.axes, 4.0 + legend_height(data.compared), sharey=True)
    for axis, axes in panels.items():
        title = wrap_label(f"{axis_title(axis)}: {rate_of(axis).title}")
        axes.set(title=title, xlabel="prompts that both models answer")
        if any(pair.curve for pair in pairs[axis]):
            _draw_panel(axes, data, pairs[axis])
        else:
            not_measured(axes)
    first = next(iter(panels.values()))
    first.set_ylabel("smallest difference found with\n80 % power, percentage points")
    first.set_ylim(bottom=0)
    shown = {pair.model: model_style(data.models, pair.model) for pair in found if pair.curve}
    add_legend(figure, shown, line=True)
    several = len({(row.seed, row.sample) for row in data.responses}) > 1
    return Plot(
        figure=figure,
        data=[
            {
                "axis": pair.axis.name,
                "metric": rate_of(pair.axis).title,
                "model": pair.model,
                "reference": data.reference,
                "prompts": n,
                "detectable": points,
                "this_study": n == pair.n,
                "discordance": pair.discordance,
                "observed": pair.observed,
            }
            for pair in found
            for n, points in pair.curve
        ],
        title=f"Power of comparisons with {data.reference}",
        caption=(
            "Power of McNemar's exact test (two-sided, 5\u00a0%, one comparison), if the models go"
            " on to disagree on as large a share of prompts as here. Dashed line: this study"
            f" ({numbers_of_prompts(pair.n for pair in found)} prompts). Filled marker: what it"
            f" could find; open marker: the observed difference to {data.reference}, found as a"
            f" rule only where it lies above the curve. Judge: {data.judge}."
            + (" For one seed and one sample; several need fewer prompts." if several else "")
        ),
    )


def _pairs(data: FigureData, axis: Axis) -> list[_Pair]:
    """Compare every model's pass and fail with the reference's."""
    pairs = []
    for model in data.compared:
        _, (reference, other) = data.paired(axis, model, passed=True)
        if not other.size:
            continue
        # Of several seeds or samples these are shares: the chance that one of each is discordant.
        discordance = float((reference * (1 - other) + other * (1 - reference)).mean())
        numbers = sorted({*_NUMBERS, other.size})
        shares = ((number, mcnemar_detectable(discordance, number)) for number in numbers)
        pairs.append(
            _Pair(
                axis=axis,
                model=model,
                discordance=discordance,
                observed=100 * abs(float((other - reference).mean())),
                n=other.size,
                curve=[(n, 100 * share) for n, share in shares if share is not None],
            )
        )
    return pairs


def _draw_panel(axes: Axes, data: FigureData, pairs: list[_Pair]) -> None:
    """Draw each curve, its value at this study's size, and the difference that was observed."""
    for pair in pairs:
        if not pair.curve:
            continue
        style = model_style(data.models, pair.model)
        dashes = _DASHES[data.compared.index(pair.model) % len(_DASHES)]
        sizes, points = zip(*pair.curve, strict=True)
        axes.plot(sizes, points, color=style.colour, linewidth=1.8, linestyle=dashes, zorder=3)
        observed = draw_marker(axes, pair.n, pair.observed, style, hollow=True, size=8)
        observed.set(zorder=5, clip_on=False)
        here = dict(pair.curve).get(pair.n)
        if here is not None:
            draw_marker(axes, pair.n, here, style, size=7, edge=1.0)
    for n in sorted({pair.n for pair in pairs}):
        axes.axvline(n, color=INK, linewidth=1.2, linestyle=(0, (5, 2.5)), zorder=2.5)
    axes.set_xscale("log")
    ticks = (20, 50, 100, 250, 500, 1_000, 2_500, 5_000)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", rotation=0, labelsize=9)
