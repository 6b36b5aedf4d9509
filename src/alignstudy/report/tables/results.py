"""Tables of results: rates, mean scores, improvement, all models at once, form of responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.model_figures import Improvement, ModelFigures
from alignstudy.analysis.results import Analysis, Omnibus
from alignstudy.formatting import ABSENT, NO_BREAK, listing, number, p_value
from alignstudy.metrics.metric import Metric
from alignstudy.report.tables.table import (
    Cell,
    Column,
    Table,
    estimated,
    for_files,
    numeric,
    rounded,
)
from alignstudy.stats.power.planning import ALPHA


def rates_table(findings: Findings, analysis: Analysis) -> Table:
    """Table 1 of the published study: the rates and their mean with their intervals and n."""
    names = [rate.name for rate in analysis.rates]
    ends = {f"{name}_{end}": f"estimates.{name}.{end}" for name in names for end in ("low", "high")}
    sizes = {
        f"n_{axis.name}": f"estimates.{analysis.rate_on(axis.name).name}.n"
        for axis in analysis.axes
    }
    return Table.of(
        analysis.models,
        *_estimates(findings, analysis, analysis.rates),
        *for_files(**{name: f"estimates.{name}.value" for name in names}, **ends, **sizes),
        name="metrics",
        title="Rates by model",
        caption=f"{listing([rate.title for rate in analysis.rates])} in percent, with 95 %"
        " intervals",
        note=f"In percent, higher is better.{_methods(analysis, analysis.rates)}",
    )


def scores_table(findings: Findings, analysis: Analysis) -> Table:
    """Mean scores by prompt set, with their intervals."""
    paths: dict[str, str] = {}
    for score in analysis.scores:
        [axis], path = score.axes, f"estimates.{score.name}"
        paths |= {axis: f"{path}.value", f"{axis}_low": f"{path}.low"}
        paths |= {f"{axis}_high": f"{path}.high", f"n_{axis}": f"{path}.n"}
    note = "In the judge's own unit, higher is better; no threshold enters."
    return Table.of(
        analysis.models,
        *_estimates(findings, analysis, analysis.scores),
        *for_files(**paths),
        name="scores",
        title="Mean scores",
        caption=f"Mean scores of {analysis.judge} by prompt set, with 95 % intervals",
        note=f"{note}{_methods(analysis, analysis.scores)}",
    )


def _estimates(
    findings: Findings, analysis: Analysis, metrics: Sequence[Metric]
) -> tuple[Column, ...]:
    """Return columns of the model, of its metrics that any model has, and of their n."""
    metrics = [m for m in metrics if any(m.name in model.estimates for model in analysis.models)]

    def sizes(model: ModelFigures) -> str:
        found = [model.estimates.get(metric.name) for metric in metrics]
        return "/".join(str(estimate.n) for estimate in found if estimate) or ABSENT

    columns = [
        numeric(
            heading_of(findings, analysis, metric),
            f"estimates.{metric.name}",
            estimated(metric.digits),
            absent="not measured",
        )
        for metric in metrics
    ]
    return (Column("Model", "model", name="model"), *columns, numeric("n", sizes))


def heading_of(findings: Findings, analysis: Analysis, metric: Metric) -> str:
    """Return a column's heading; it says where the judge is below its floor."""
    below = any(findings.is_below_floor(analysis.judge, axis) for axis in metric.axes)
    return f"{metric.heading} (judge below floor)" if below else metric.heading


def _methods(analysis: Analysis, metrics: Sequence[Metric]) -> str:
    """Say by which method each column's intervals were made."""
    made = dict.fromkeys(
        f"{metric.title} {100 * item.level:g}{NO_BREAK}% {item.method.replace('wilson', 'Wilson')}"
        for metric in metrics
        for model in analysis.models
        if (item := model.estimates.get(metric.name)) is not None
    )
    return f" Intervals: {', '.join(made)}." if made else ""


def improvement_table(analysis: Analysis) -> Table:
    """Table 2 of the published study: gain over the base, in points and relative to its rate."""
    rows: dict[str, dict[str, Any]] = {}
    rates = [rate.name for rate in analysis.rates]
    for item in analysis.improvements:
        empty = {"model": item.model, **dict.fromkeys(rates)}
        rows.setdefault(item.model, empty)[item.metric] = item
    gain = f"Gain over {analysis.base}" if analysis.base else "Gain: no base model was named"
    relative = {f"{rate}_relative_percent": f"{rate}.relative_percent" for rate in rates}
    return Table.of(
        tuple(rows.values()),
        Column("Model", "model", name="model"),
        *(numeric(rate.short, rate.name, _improvement) for rate in analysis.rates),
        *for_files(**relative, **{f"{rate}_points": f"{rate}.points" for rate in rates}),
        name="improvement",
        title=f"Improvement over {analysis.base}",
        caption=f"{gain}: relative, in percent of its rate, and in percentage points",
        note="Percentage points; below, relative to the base model's rate, as the published study"
        " reports it. A relative gain is large where the base's rate is small: read the points.",
    )


def _improvement(item: Improvement) -> Cell:
    relative = item.relative_percent
    detail = "base is 0" if relative is None else f"{number(relative, 2, signed=True)}{NO_BREAK}%"
    return Cell(number(item.points, 1, signed=True), detail)


def omnibus_table(analysis: Analysis) -> Table:
    """Whether any model differs from any other, a row per metric."""
    return Table.of(
        analysis.omnibus,
        *for_files("metric", "test"),
        Column("Metric", lambda item: analysis.metric(item.metric).heading),
        Column("Test", lambda item: Cell(item.test, item.note)),
        numeric("Statistic", "statistic", rounded(2), name="statistic"),
        numeric("p", "p_value", p_value, name="p_value"),
        Column("Verdict", _any_differs),
        numeric("n", "n", name="n"),
        *for_files("note"),
        name="omnibus",
        title="Does any model differ from any other?",
        caption="One test over all models for each metric",
        note="One test over all models, before any pair is looked at; not corrected.",
    )


def _any_differs(item: Omnibus) -> Cell:
    if item.p_value is not None and item.p_value < ALPHA:
        return Cell("some model differs", kind="good")
    return Cell("not shown" if item.p_value is not None else ABSENT)


def judges_table(analyses: Sequence[Analysis]) -> Table:
    """Every judge's metrics side by side; no rows with one judge."""
    found = (
        (analysis.judge, model.model, metric.name, estimate)
        for analysis in (analyses if len(analyses) > 1 else ())
        for model in analysis.models
        for metric in analysis.metrics
        if (estimate := model.estimates.get(metric.name)) is not None
    )
    return Table.of_values(
        "judges",
        ("judge", "model", "metric", "value", "low", "high", "n"),
        ((*names, e.value, e.low, e.high, e.n) for *names, e in found),
        caption="Metrics by judge, with 95 % intervals",
    )


def best_table(analysis: Analysis) -> Table:
    """How often each model has the highest value when prompts are drawn again, for files."""
    return Table.of_values(
        "best",
        ("metric", "model", "share"),
        (
            (metric, model, share)
            for metric, shares in analysis.best_shares.items()
            for model, share in shares.items()
        ),
        caption="Share of resamples, in percent, in which a model has the highest value",
    )


def best_shares_table(analysis: Analysis) -> Table:
    """The same for pages, a column a metric."""
    found = analysis.best_shares
    rows = [
        {"model": model.model, **{metric: found[metric].get(model.model) for metric in found}}
        for model in analysis.models
    ]
    return Table.of(
        rows if found else (),
        Column("Model", "model"),
        *(numeric(analysis.metric(name).heading, name, rounded(0, unit="%")) for name in found),
        note="Share of bootstrap draws of the prompts in which the model has the highest value.",
        title="How often each model comes first when prompts are drawn anew",
    )


def hygiene_table(analysis: Analysis) -> Table:
    """How well-formed the responses are."""
    return _hygiene(
        analysis,
        numeric("Empty", "hygiene.empty", rounded(1, unit="%")),
        numeric("Cut at the limit", "hygiene.cap", rounded(1, unit="%")),
        numeric("Further turn", "hygiene.role_tag", rounded(1, unit="%")),
        numeric("Repetition", "hygiene.repetition", rounded(1, unit="%")),
        numeric("Loop", "hygiene.loop", rounded(1, unit="%")),
        numeric("Echo", "hygiene.echo", rounded(1, unit="%")),
        numeric("Mean words", "hygiene.mean_words", rounded(1)),
        numeric("n", "hygiene.n"),
        title="Shares of responses that are not well-formed",
        note="Cut at the limit: by the generator's own count. Further turn: the text goes on with a"
        " role tag. Repetition: over 30 % of the 4-grams are repeats; loop: over 50 %. Echo:"
        f" repeats the prompt's last turn. {ABSENT}: not known.",
    )


def wording_table(analysis: Analysis) -> Table:
    """How varied the responses are, and what kind of answer they give."""
    return _hygiene(
        analysis,
        numeric("Refuses", "hygiene.refusal", rounded(1, unit="%")),
        numeric("Evades", "hygiene.evasive", rounded(1, unit="%")),
        numeric("Incoherent", "hygiene.incoherent", rounded(1, unit="%")),
        numeric("Answers", "hygiene.comply", rounded(1, unit="%")),
        numeric(
            "Distinct 1/2/3",
            "hygiene",
            lambda h: " / ".join(number(d, 2) for d in (h.distinct_1, h.distinct_2, h.distinct_3)),
        ),
        numeric("Longest loop", "hygiene.longest_loop", rounded(1)),
        numeric("Compressed to", "hygiene.compression", rounded(2)),
        title="Kinds of answers, and how varied they are",
        note="Refusing, evading and incoherent by versioned patterns, not by a judge: on benign"
        " prompts a refusal is an over-refusal. Distinct: different words (pairs, triples) over"
        " all, at an equal budget of words for every model. Longest loop: mean length in words"
        " of the longest stretch that repeats itself.",
    )


def _hygiene(analysis: Analysis, *columns: Column, title: str, note: str) -> Table:
    """Lay out hygiene, a row a prompt set and model."""
    rows = tuple(
        {"model": model.model, "prompts": axis.prompts, "hygiene": model.hygiene[axis.name]}
        for axis in analysis.axes
        for model in analysis.models
        if axis.name in model.hygiene
    )
    names = (Column("Model", "model"), Column("Prompts", "prompts"))
    return Table(columns=(*names, *columns), rows=rows, note=note, title=title)
