"""Tables of paired comparisons, and of the claims that rest on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.formatting import ABSENT, NO_BREAK, count, interval, number, p_value, percent, short
from alignstudy.metrics.metric import Metric
from alignstudy.records import ScoredResponse
from alignstudy.records.robustness import Power
from alignstudy.report.html.viewer import pair_link, prompt_names, sample_link
from alignstudy.report.tables.table import Cell, Column, Table, estimated, for_files, numeric
from alignstudy.report.text.verdicts import VERDICTS, verdict_kind
from alignstudy.stats.power.planning import ALPHA

_MOST_LINKS = 6
_MINUS = (
    "Model minus the one it is held against, prompt by prompt: percentage points for rates, the"
    f" judge's unit for scores. Higher or lower: p corrected by Holm is below {ALPHA}."
)


def mean_first(analysis: Analysis) -> list[Metric]:
    """Return the rates as comparisons of them are read: their mean, then one by one."""
    return sorted(analysis.rates, key=lambda rate: len(rate.axes) == 1)


def comparisons_table(analysis: Analysis, metrics: Sequence[Metric] | None = None) -> Table:
    """Paired comparisons with their tests: of the given metrics in their order, or as they are."""
    rows = analysis.comparisons
    if metrics is not None:
        rows = tuple(item for metric in metrics for item in rows if item.metric == metric.name)
    of_rates = metrics is None or any(metric.is_rate for metric in metrics)
    tests = dict.fromkeys(
        f"{analysis.metric(item.metric).short} by {item.test}"
        for item in rows
        if item.p_value is not None
    )
    told = f" Tests: {', '.join(tests)}." if tests else ""
    return Table.of(
        rows,
        *_on_page(analysis),
        *_COMPARISON_IN_FILES,
        name="comparisons",
        title=f"Paired comparisons of {'rates' if of_rates else 'scores'}",
        caption="Paired comparisons: model minus reference, percentage points or score,"
        " with 95 % intervals; p_holm is adjusted within its family",
        note=f"{_MINUS} Win rate: ties count one half; below it Cohen's d_z for scores. To show it:"
        " paired prompts (a set, for the mean over sets) for 80 % power to find the margin at the"
        " corrected level; below it the smallest difference that the prompts at hand would show."
        f"{told}",
    )


def leading_table(analysis: Analysis, metric: Metric) -> Table:
    """The comparisons of one metric, without what only a close reader wants."""
    table = comparisons_table(analysis, [metric]).without("Metric", "p", "Win rate", "To show it")
    title = f"Models compared in {metric.in_full}"
    apart = " and that isn't one with the control" if analysis.control is not None else ""
    note = (
        f"{_MINUS} A pair that no claim states{apart} is exploration: it suggests, and proves"
        " nothing."
    )
    return replace(table, title=title, note=note)


def _verdict(item: Comparison, metric: Metric) -> Cell:
    if item.p_holm is None:
        return Cell(f"not{NO_BREAK}tested", item.note)
    if item.is_shown:
        return (
            Cell("higher", kind="good") if item.difference.value > 0 else Cell("lower", kind="bad")
        )
    if not item.survives_missing:
        return Cell(f"not{NO_BREAK}shown", "missing ratings could undo it", kind="open")
    if item.p_equivalent is not None and item.p_equivalent < ALPHA and item.margin is not None:
        margin = short(item.margin, metric.digits)
        return Cell("equivalent", f"within {margin}, {p_value(item.p_equivalent)}", kind="plain")
    return Cell(f"not{NO_BREAK}shown", kind="open")


def _win_rate(item: Comparison) -> Cell:
    size = item.effect_size
    effect = f"d_z {number(size, 2, signed=True)}" if size is not None else ""
    ends = interval(item.win_interval, 0) if item.win_interval else ""
    value = item.win_interval.value if item.win_interval else item.win_rate
    return Cell(percent(value, 0), f"{ends} {effect}".strip())


def _to_show_it(item: Comparison, metric: Metric) -> Cell:
    """Return how many prompts would show the observed difference, and what could be shown."""
    power = item.power or Power(detectable=None)
    digits, detectable = metric.digits, power.detectable
    least = "" if detectable is None else f"\u2265{NO_BREAK}{number(detectable, digits)} seen"
    return Cell(count(power.n_needed), least)


def _on_page(analysis: Analysis) -> tuple[Column, ...]:
    """Return the columns of comparisons that pages show."""

    def model(item: Comparison) -> Cell:
        link = pair_link(item, analysis.metric(item.metric))
        return Cell(item.model, links=(("samples", link),))

    def difference(item: Comparison) -> Cell:
        digits = analysis.metric(item.metric).digits
        return estimated(digits, signed=True)(item.difference)

    return (
        Column("Metric", lambda item: analysis.metric(item.metric).short),
        Column("Model", model),
        Column("Against", "reference"),
        numeric("Difference", difference),
        numeric("p", "p_value", p_value),
        numeric("p (Holm)", "p_holm", p_value),
        Column("Verdict", lambda item: _verdict(item, analysis.metric(item.metric))),
        numeric(
            "Better / worse / same",
            lambda item: Cell(f"{item.wins} / {item.losses} / {item.ties}", f"n = {item.n}"),
        ),
        numeric("Win rate", _win_rate),
        numeric("To show it", lambda item: _to_show_it(item, analysis.metric(item.metric))),
    )


_COMPARISON_IN_FILES = (
    *for_files("model", "reference", "metric"),
    *for_files(difference="difference.value", low="difference.low", high="difference.high"),
    *for_files("p_value", "p_holm", "test", "wins", "losses", "ties", "n", "win_rate"),
    *for_files(interval="difference.method", note="note", family="family"),
    *for_files(win_rate_low="win_interval.low", win_rate_high="win_interval.high"),
    *for_files("p_sign", "effect_size", power="power.power", detectable="power.detectable"),
    *for_files(n_needed="power.n_needed"),
    *for_files("p_equivalent", "margin", "num_clusters"),
)


def verdicts_table(
    verdicts: Sequence[Verdict], responses: Sequence[ScoredResponse] = (), *, brief: bool = False
) -> Table:
    """A row a claim, and one for each part of a claim that has several.

    Args:
        verdicts: In the study's order.
        responses: The samples that prompts are linked to; without them there are no links.
        brief: Whether to leave out parts, and all of the evidence but the difference.
    """
    # Prompt id -> name and link of its samples; an id may stand on both axes.
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (axis, prompt_id), name in prompt_names((r.axis, r.prompt_id) for r in responses).items():
        places[prompt_id].append((name, sample_link(axis, prompt_id)))
    rows = []
    for whole in verdicts:
        for item in (whole,) if brief else (whole, *whole.parts):
            links = tuple(link for prompt_id in item.prompts for link in places[prompt_id])
            rest = len(links) - _MOST_LINKS
            more = f"and {rest} more" if rest > 0 else ""
            deciding = Cell("" if links else ABSENT, more, links=links[:_MOST_LINKS])
            part = "" if item is whole else item.claim
            rows.append({"claim": whole.claim, "part": part, "verdict": item, "links": deciding})
    return Table.of(
        rows,
        *for_files("claim", "part"),
        Column("Claim", lambda row: f"part: {row['part']}" if row["part"] else row["claim"]),
        Column(
            "Verdict",
            "verdict.verdict",
            lambda verdict: Cell(verdict, kind=verdict_kind(verdict)),
            name="verdict",
        ),
        *for_files(n_needed="verdict.n_needed"),
        Column(
            *(("What was seen", "verdict.brief") if brief else ("Evidence", "verdict.evidence"))
        ),
        *for_files(evidence="verdict.evidence"),
        numeric("p (Holm)", "verdict.p_holm", p_value),
        numeric("Prompts needed", "verdict.n_needed"),
        Column("Prompts that decide", "links"),
        name="claims",
        caption="Claims that were stated, and what the data say of them",
        note=_meanings(verdicts),
        title="Claims that were stated, and what the data say",
    )


def _meanings(verdicts: Sequence[Verdict]) -> str:
    """Explain the verdicts that occur, and what is counted beside them."""
    judged = [item for whole in verdicts for item in (whole, *whole.parts)]
    found = {item.verdict for item in judged}
    said = [
        f"{name[:1].upper()}{name[1:]}: {words.meaning}"
        for name, words in VERDICTS.items()
        if name in found
    ]
    if any(item.p_holm is not None for item in judged):
        said.append("Claims are corrected for one another (Holm).")
    if any(item.n_needed is not None for item in judged):
        said.append(
            "Prompts needed: a set, for 80 % power to find the smallest difference of interest."
        )
    return " ".join(said)
