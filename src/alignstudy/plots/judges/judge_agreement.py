"""Whether the judges see the same thing: rank correlation and agreement of every two."""

from __future__ import annotations

from collections import defaultdict

from alignstudy.plots.base import FigureData, NothingToShow, Plot, columns, numbers_of_prompts
from alignstudy.plots.comparisons.matrix import Cells, draw_matrices


def draw(data: FigureData) -> Plot:
    """Judge agreement: Spearman's correlation and Cohen's kappa of every two judges, by axis."""
    agreements = data.findings.agreements
    judges = list(dict.fromkeys(name for item in agreements for name in (item.first, item.second)))
    if not judges:
        raise NothingToShow("judge agreement: no two judges scored the same responses")
    cells: dict[str, Cells] = defaultdict(dict)
    rows = []
    for item in agreements:
        first, second = sorted((judges.index(item.first), judges.index(item.second)))
        cells[item.axis][first, second] = _said(item.spearman)
        cells[item.axis][second, first] = _said(item.kappa)
        winner = columns(item.same_winner, "value", "low", "high")
        rows.append(
            columns(item, "axis", "first", "second", "spearman", "kappa")
            | {"same_winner": winner["value"]}
            | {f"same_winner_{end}": winner[end] for end in ("low", "high")}
            | columns(item, "kendall_tau", "n")
        )
    by_axis = {axis: cells[axis.name] for axis in data.axes}
    return Plot(
        figure=draw_matrices(judges, by_axis, most_beside=5, row=0.62),
        data=rows,
        title="Agreement of judges",
        caption=(
            "Right of the diagonal: Spearman's rank correlation of two judges' scores over all"
            " responses. Left of it: Cohen's kappa of pass and fail at each judge's threshold. 1 is"
            " full agreement, 0 none beyond chance, ? undefined; columns have their rows' numbers;"
            " no interval is drawn. Responses that both scored:"
            f" {numbers_of_prompts(item.n for item in agreements)}."
        ),
    )


def _said(value: float | None) -> tuple[str, float | None]:
    """Return the text and the strength of a cell."""
    if value is None:
        return "?", None
    # Adding 0 turns a rounded -0.0 into 0.0.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\u2212"), value
