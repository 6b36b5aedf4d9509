"""Whether the judges see the same thing: rank correlation and agreement of every two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.plots.base import FigureData, NothingToShow, Plot, columns, numbers_of_prompts
from alignstudy.plots.comparisons.matrix import Cells, draw_matrices
from alignstudy.plots.style import in_house_style
from alignstudy.records.evidence import Agreement


@in_house_style
def draw(data: FigureData) -> Plot:
    """Judge agreement: Spearman's correlation and Cohen's kappa of every two judges, by axis."""
    agreements = data.findings.agreements
    judges = list(dict.fromkeys(name for item in agreements for name in (item.first, item.second)))
    if not judges:
        raise NothingToShow("judge agreement: no two judges scored the same responses")
    cells = {
        axis: _cells(judges, [a for a in agreements if a.axis == axis.name]) for axis in data.axes
    }
    return Plot(
        figure=draw_matrices(judges, cells, most_beside=5, row=0.62),
        data=[_row(item) for item in agreements],
        title="Agreement of judges",
        caption=(
            "Right of the diagonal: Spearman's rank correlation of two judges' scores over all"
            " responses. Left of it: Cohen's kappa of pass and fail at each judge's threshold. 1 is"
            " full agreement, 0 none beyond chance, ? undefined; columns have their rows' numbers;"
            " no interval is drawn. Responses that both scored:"
            f" {numbers_of_prompts(item.n for item in agreements)}."
        ),
    )


def _cells(judges: Sequence[str], found: Sequence[Agreement]) -> Cells:
    """Return correlations above the diagonal and kappas below it."""
    cells: Cells = {}
    for item in found:
        first, second = sorted((judges.index(item.first), judges.index(item.second)))
        cells[first, second] = _said(item.spearman)
        cells[second, first] = _said(item.kappa)
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
        "axis": item.axis,
        **columns(item, "first", "second", "spearman", "kappa"),
        "same_winner": winner.value if winner else None,
        "same_winner_low": winner.low if winner else None,
        "same_winner_high": winner.high if winner else None,
        **columns(item, "kendall_tau", "n"),
    }
