"""Whether the judges see the same thing: rank correlation and agreement of every two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.plots.base import AXIS_TITLES, FigureData, NothingToShow, Plot, numbers_of_prompts
from alignstudy.plots.comparisons.matrix import draw_matrix
from alignstudy.plots.style import in_house_style, new_figure, not_measured, row_height
from alignstudy.records.evidence import Agreement

_MOST_BESIDE = 5


@in_house_style
def draw(data: FigureData) -> Plot:
    """Judge agreement: Spearman's correlation and Cohen's kappa of every two judges, by axis."""
    judges = list(
        dict.fromkeys(name for item in data.agreements for name in (item.first, item.second))
    )
    if not judges:
        raise NothingToShow("judge agreement: no two judges scored the same responses")
    beside = len(judges) <= _MOST_BESIDE
    height = 0.9 + len(judges) * max(0.62, row_height(judges))
    figure = new_figure(height if beside else 2 * height)
    shape = (1, len(AXIS_TITLES)) if beside else (len(AXIS_TITLES), 1)
    panels = figure.subplots(*shape, squeeze=False).flatten()
    for number, (axis, title) in enumerate(AXIS_TITLES.items()):
        axes = panels[number]
        axes.set_title(title, pad=12)
        found = [item for item in data.agreements if item.axis is axis]
        draw_matrix(axes, judges, _cells(judges, found), name_rows=number == 0 or not beside)
        if not found:
            not_measured(axes)
    return Plot(
        figure=figure,
        data=[_row(item) for item in data.agreements],
        title="Agreement of judges",
        caption=_caption(data),
    )


def _cells(
    judges: Sequence[str], found: Sequence[Agreement]
) -> dict[tuple[int, int], tuple[str, float | None]]:
    """Return correlations above the diagonal and kappas below it."""
    cells: dict[tuple[int, int], tuple[str, float | None]] = {}
    for item in found:
        first, second = sorted((judges.index(item.first), judges.index(item.second)))
        for place, value in (((first, second), item.spearman), ((second, first), item.kappa)):
            cells[place] = _said(value)
    return cells


def _said(value: float | None) -> tuple[str, float | None]:
    """Return the text and the strength of a cell."""
    if value is None:
        return "?", None
    # Adding 0 turns a rounded -0.0 into 0.0.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\u2212"), value


def _row(item: Agreement) -> dict[str, Any]:
    """Return two judges as a row of the figure's data."""
    winner = item.same_winner
    return {
        "axis": str(item.axis), "first": item.first, "second": item.second,
        "spearman": item.spearman, "kappa": item.kappa,
        "same_winner": winner.value if winner else None,
        "same_winner_low": winner.low if winner else None,
        "same_winner_high": winner.high if winner else None,
        "kendall_tau": item.kendall_tau, "n": item.n,
    }  # fmt: skip


def _caption(data: FigureData) -> str:
    """Return what the two triangles hold."""
    return (
        "Right of the diagonal: Spearman's rank correlation of two judges' scores over all"
        " responses. Left of it: Cohen's kappa of pass and fail at each judge's threshold. 1 is"
        " full agreement, 0 none beyond chance, ? undefined; columns have their rows' numbers; no"
        " interval is drawn. Responses that both scored:"
        f" {numbers_of_prompts(item.n for item in data.agreements)}."
    )
