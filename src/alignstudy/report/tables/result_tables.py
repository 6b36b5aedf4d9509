"""The report's tables of results: rates, scores, comparisons, form of responses, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from alignstudy.analysis.comparisons.orientation import ALPHA
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Comparison, Hygiene
from alignstudy.formatting import (
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
from alignstudy.records import Axis, Estimate
from alignstudy.report.html.links import pair_link
from alignstudy.report.tables.layout import Cell, Table
from alignstudy.report.text.stamps import is_stamped

SCORES = ("score_harmless", "score_helpful")
_SHORT_NAMES = {"score_harmless": "Score, harmful", "score_helpful": "Score, helpful"}


def rates_table(findings: Findings, analysis: Analysis) -> Table:
    """HmR, HpR and CAS in percent with their intervals and n."""
    table = _estimates(findings, analysis, RATES, "In percent, higher is better.")
    return Table(columns=table.columns, rows=table.rows, note=table.note, title="Rates by model")


def scores_table(findings: Findings, analysis: Analysis) -> Table:
    """Mean scores by axis with their intervals."""
    note = "In the judge's own unit, higher is better; no threshold enters."
    table = _estimates(findings, analysis, SCORES, note)
    return Table(columns=table.columns, rows=table.rows, note=table.note, title="Mean scores")


def _estimates(findings: Findings, analysis: Analysis, metrics: Sequence[str], note: str) -> Table:
    rows = []
    for model in analysis.models:
        found = [(metric, getattr(model, metric)) for metric in metrics]
        sizes = "/".join(str(estimate.n) for _, estimate in found if estimate) or ABSENT
        cells = [_estimate(estimate, digits_of(metric)) for metric, estimate in found]
        rows.append((Cell(model.model), *cells, Cell(sizes)))
    names = [f"{_heading(findings, analysis, metric)}#" for metric in metrics]
    methods = _methods(analysis, metrics)
    return Table(columns=("Model", *names, "n#"), rows=tuple(rows), note=f"{note}{methods}")


def _heading(findings: Findings, analysis: Analysis, metric: str) -> str:
    """Name a metric; where its judge is below the floor, the heading says so."""
    name = f"{NAMES[metric][0].upper()}{NAMES[metric][1:]}"
    return f"{name} (judge below floor)" if is_stamped(findings, analysis.judge, metric) else name


def _methods(analysis: Analysis, metrics: Sequence[str]) -> str:
    """Say by which method each column's intervals were made."""
    made = []
    for metric in metrics:
        found = {e.method: e.level for m in analysis.models if (e := getattr(m, metric))}
        made += [
            f"{NAMES[metric]} {100 * level:g}{NO_BREAK}% {method.replace('wilson', 'Wilson')}"
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
    columns = ("Model", *(f"{NAMES[m]}#" for m in RATES))
    return Table(columns=columns, rows=rows, note=note, title=f"Improvement over {analysis.base}")


def comparisons_table(comparisons: Iterable[Comparison], metrics: Sequence[str]) -> Table:
    """Paired comparisons with their tests, the given metrics in their order."""
    made = list(comparisons)
    rows = tuple(_comparison(item) for metric in metrics for item in made if item.metric == metric)
    return Table(
        columns=(
            "Metric", "Model", "Against", "Difference#", "p#", "p (Holm)#", "Verdict",
            "Better / worse / same#", "Win rate#", "To show it#",
        ),
        rows=rows,
        note=(
            "Model minus the one it is held against, prompt by prompt: percentage points for rates,"
            f" the judge's unit for scores. Real: Holm-corrected p below {ALPHA}. Win rate: ties"
            " count one half; below it Cohen's d_z for scores. To show it: paired prompts (a set,"
            " for CAS) for 80 % power at the observed difference; below it the smallest difference"
            f" that the prompts at hand would show.{_tests(made, metrics)}"
        ),
        title="Paired comparisons of rates" if "cas" in metrics else "Paired comparisons of scores",
    )  # fmt: skip


def _tests(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> str:
    """Say by which tests p-values were made."""
    made = {
        f"{_SHORT_NAMES.get(item.metric, NAMES[item.metric])} by {item.test}": None
        for metric in metrics
        for item in comparisons
        if item.metric == metric and item.p_value is not None
    }
    return f" Tests: {', '.join(made)}." if made else ""


def _comparison(item: Comparison) -> tuple[Cell, ...]:
    digits, gap = digits_of(item.metric), item.difference
    return (
        Cell(_SHORT_NAMES.get(item.metric, NAMES[item.metric])),
        Cell(item.model, links=(("samples", pair_link(item)),)),
        Cell(item.reference),
        Cell(number(gap.value, digits, signed=True), interval(gap, digits)),
        Cell(p_value(item.p_value)),
        Cell(p_value(item.p_holm)),
        _verdict(item),
        Cell(f"{item.wins} / {item.losses} / {item.ties}", f"n = {item.n}"),
        _win_rate(item),
        _power(item),
    )


def _verdict(item: Comparison) -> Cell:
    if item.p_holm is None:
        return Cell(f"not{NO_BREAK}tested", item.note)
    if item.p_holm < ALPHA:
        return Cell("real", kind="good")
    if item.p_equivalent is not None and item.p_equivalent < ALPHA and item.margin is not None:
        margin = short(item.margin, digits_of(item.metric))
        return Cell("equivalent", f"within {margin}, {p_value(item.p_equivalent)}", kind="plain")
    return Cell(f"not{NO_BREAK}shown", kind="open")


def _win_rate(item: Comparison) -> Cell:
    size = item.effect_size
    effect = f"d_z {number(size, 2, signed=True)}" if size is not None else ""
    if item.win_interval is None:
        return Cell(percent(item.win_rate, 0), effect)
    ends = interval(item.win_interval, 0)
    return Cell(percent(item.win_interval.value, 0), f"{ends} {effect}".strip())


def _power(item: Comparison) -> Cell:
    """Return how many prompts would show the observed difference, and what could be shown."""
    if item.power is None:
        return Cell(ABSENT)
    detectable, digits = item.power.detectable, digits_of(item.metric)
    least = "" if detectable is None else f"\u2265{NO_BREAK}{number(detectable, digits)} seen"
    return Cell(ABSENT if item.power.n_needed is None else count(item.power.n_needed), least)


def hygiene_table(analysis: Analysis) -> Table:
    """How well-formed the responses are."""
    return _hygiene(
        analysis,
        (
            "Empty#", "Cut at the limit#", "Further turn#", "Repetition#", "Loop#", "Echo#",
            "Mean words#", "n#",
        ),
        lambda row: (
            *(percent(share) for share in (row.empty, row.cap, row.role_tag, row.repetition,
                                           row.loop, row.echo)),
            number(row.mean_words, 1), count(row.n),
        ),
        title="Shares of responses that are not well-formed",
        note=(
            "Cut at the limit: by the generator's own count. Further turn: the text goes on with a"
            " role tag. Repetition: over 30 % of the 4-grams are repeats; loop: over 50 %. Echo:"
            f" repeats the prompt's last turn. {ABSENT}: not known."
        ),
    )  # fmt: skip


def wording_table(analysis: Analysis) -> Table:
    """How varied the responses are, and what kind of answer they give."""
    return _hygiene(
        analysis,
        (
            "Refuses#", "Evades#", "Incoherent#", "Answers#", "Distinct 1/2/3#", "Longest loop#",
            "Compressed to#",
        ),
        lambda row: (
            *(percent(share) for share in (row.refusal, row.evasive, row.incoherent, row.comply)),
            " / ".join(number(d, 2) for d in (row.distinct_1, row.distinct_2, row.distinct_3)),
            number(row.longest_loop, 1), number(row.compression, 2),
        ),
        title="Kinds of answers, and how varied they are",
        note=(
            "Refusing, evading and incoherent by versioned patterns, not by a judge: on helpful"
            " prompts a refusal is an over-refusal. Distinct: different words (pairs, triples) over"
            " all, at an equal budget of words for every model. Longest loop: mean length in words"
            " of the longest stretch that repeats itself."
        ),
    )  # fmt: skip


def _hygiene(
    analysis: Analysis,
    columns: tuple[str, ...],
    cells: Callable[[Hygiene], tuple[str, ...]],
    *,
    title: str,
    note: str,
) -> Table:
    """Lay out hygiene, a row a prompt set and model."""
    rows = tuple(
        (Cell(model.model), Cell(axis.prompts_name), *map(Cell, cells(row)))
        for axis in Axis
        for model in analysis.models
        if (row := model.hygiene.get(axis)) is not None
    )
    return Table(columns=("Model", "Prompts", *columns), rows=rows, note=note, title=title)


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
    title = "The score that a response has to pass"
    return Table(columns=columns, rows=tuple(rows), title=title)
