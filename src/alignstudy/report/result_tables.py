"""The report's tables of results: rates, scores, comparisons, form of responses, thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alignstudy.records import Axis, Estimate
from alignstudy.report.analysis import Analysis, Comparison
from alignstudy.report.answer import ALPHA
from alignstudy.report.layout import Cell, Table
from alignstudy.report.numbers import (
    ABSENT,
    NAMES,
    NO_BREAK,
    RATES,
    count,
    digits_of,
    interval,
    number,
    p_value,
    percent,
    short,
)

_SHORT_NAMES = {"score_harmless": "Score, harmful", "score_helpful": "Score, helpful"}


def merits_table(analysis: Analysis) -> Table:
    """HmR, HpR and CAS in percent with their intervals and n."""
    return _estimates(analysis, RATES, "In percent, higher is better.")


def scores_table(analysis: Analysis) -> Table:
    """Mean scores by axis with their intervals."""
    note = "In the judge's own unit, higher is better; no threshold enters."
    return _estimates(analysis, ("score_harmless", "score_helpful"), note)


def _estimates(analysis: Analysis, metrics: Sequence[str], note: str) -> Table:
    rows = []
    for model in analysis.models:
        found = [(metric, getattr(model, metric)) for metric in metrics]
        sizes = "/".join(str(estimate.n) for _, estimate in found if estimate) or ABSENT
        cells = [_estimate(estimate, digits_of(metric)) for metric, estimate in found]
        rows.append((Cell(model.model), *cells, Cell(sizes)))
    names = [f"{NAMES[metric][0].upper()}{NAMES[metric][1:]}#" for metric in metrics]
    methods = _methods(analysis, metrics)
    return Table(columns=("Model", *names, "n#"), rows=tuple(rows), note=f"{note}{methods}")


def _methods(analysis: Analysis, metrics: Sequence[str]) -> str:
    """Say by which method each column's intervals were made."""
    made = []
    for metric in metrics:
        found = {e.method: e.level for m in analysis.models if (e := getattr(m, metric))}
        made += [
            f"{NAMES[metric]} {100 * level:g}{NO_BREAK}% {method}"
            for method, level in found.items()
        ]
    return f" Intervals: {', '.join(made)}." if made else ""


def _estimate(estimate: Estimate | None, digits: int) -> Cell:
    if estimate is None:
        return Cell(ABSENT, "not measured")
    return Cell(number(estimate.value, digits), interval(estimate, digits))


def improvement_table(analysis: Analysis) -> Table:
    """Improvement over the base model, in points and relative to it."""
    by_model: dict[str, dict[str, Cell]] = {}
    for item in analysis.improvements:
        relative = item.relative_percent
        detail = (
            f"{number(relative, 2, signed=True)}{NO_BREAK}%"
            if relative is not None
            else "base is 0"
        )
        cell = Cell(number(item.points, 1, signed=True), detail)
        by_model.setdefault(item.model, {})[item.metric] = cell
    rows = tuple(
        (Cell(model), *(cells.get(metric, Cell(ABSENT)) for metric in RATES))
        for model, cells in by_model.items()
    )
    note = (
        "Percentage points; below, relative to the base model's rate, as the published study"
        " reports it. A relative gain is large where the base's rate is small: read the points."
    )
    return Table(columns=("Model", *(f"{NAMES[m]}#" for m in RATES)), rows=rows, note=note)


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Every paired comparison with its test."""
    rows = tuple(_comparison(item) for item in comparisons)
    return Table(
        columns=(
            "Figure of merit", "Model", "Against", "Difference#", "p#", "p (Holm)#",
            "Better / worse / same#", "Verdict", "Test",
        ),
        rows=rows,
        note=(
            "Model minus the one it is held against, prompt by prompt: percentage points for rates,"
            f" the judge's unit for scores. Real difference: Holm-corrected p below {ALPHA}."
        ),
    )  # fmt: skip


def _comparison(item: Comparison) -> tuple[Cell, ...]:
    digits, gap = digits_of(item.metric), item.difference
    is_real = item.p_holm is not None and item.p_holm < ALPHA
    verdict = "real" if is_real else f"not{NO_BREAK}{'tested' if item.p_holm is None else 'shown'}"
    return (
        Cell(_SHORT_NAMES.get(item.metric, NAMES[item.metric])),
        Cell(item.model),
        Cell(item.reference),
        Cell(number(gap.value, digits, signed=True), interval(gap, digits)),
        Cell(p_value(item.p_value)),
        Cell(p_value(item.p_holm)),
        Cell(f"{item.wins} / {item.losses} / {item.ties}", f"n = {item.n}"),
        Cell(verdict),
        Cell(item.note or item.test),
    )


def hygiene_table(analysis: Analysis) -> Table:
    """How well-formed the responses are."""
    rows = []
    for axis in Axis:
        for model in analysis.models:
            row = model.hygiene.get(axis)
            if row is not None:
                shares = (row.empty, row.cap, row.role_tag, row.repetition)
                rows.append(
                    (
                        Cell(model.model),
                        Cell(axis.prompts_name),
                        *(Cell(percent(share)) for share in shares),
                        Cell(number(row.mean_words, 1)),
                        Cell(count(row.n)),
                    )
                )
    return Table(
        columns=(
            "Model", "Prompts", "Empty#", "Cut at the limit#", "Further turn#", "Repetition#",
            "Mean words#", "n#",
        ),
        rows=tuple(rows),
        note=(
            "Further turn: the text goes on with a role tag. Repetition: over 30 % of the 4-grams"
            f" are repeats. {ABSENT}: not known."
        ),
    )  # fmt: skip


def thresholds_table(analyses: Sequence[Analysis]) -> Table:
    """The threshold of each axis, where it comes from, how many scores pass it."""
    rows = []
    for analysis in analyses:
        for axis in Axis:
            value = analysis.thresholds.of(axis)
            rows.append(
                (
                    Cell(analysis.judge),
                    Cell(str(axis)),
                    Cell(ABSENT if value is None else short(value, 4)),
                    Cell("counts" if analysis.thresholds.inclusive else "does not count"),
                    Cell(analysis.thresholds.origin.get(str(axis), "not stated")),
                )
            )
    columns = ("Judge", "Axis", "Threshold#", "A score equal to it", "Origin")
    return Table(columns=columns, rows=tuple(rows))
