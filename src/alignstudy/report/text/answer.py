"""The answer: a headline, what was found of differences, what it rests on, what would change it.

All of it is made by rule from verdicts and comparisons alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from alignstudy.analysis.comparisons.orientation import (
    between,
    differences,
    figures_in_words,
    leaders,
    leading_metric,
    turned,
    values_of,
)
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.formatting import interval, listing, number, p_in_words
from alignstudy.metrics.metric import Metric
from alignstudy.report.text.basis import rests_on, would_change
from alignstudy.report.text.headline import headline, sound_metric
from alignstudy.report.text.rewards import reward_alarms

_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the study found.

    Attributes:
        headline: One or two sentences.
        alarms: What must be read before it: accusations of reward hacking.
        sentences: Which differences are shown, at most three.
        rests_on: Prompts, seeds, the judge's worth.
        would_change: What could turn the answer, or settle it.
    """

    headline: str
    alarms: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()


def answer(findings: Findings) -> Answer:
    """Return what was found."""
    first = findings.first
    if leading_metric(first) is None:
        notes = tuple(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in first.notes)
        return Answer(headline=headline(findings), sentences=notes, alarms=reward_alarms(findings))
    metric = sound_metric(findings)
    return Answer(
        headline=headline(findings),
        alarms=reward_alarms(findings),
        sentences=()
        if metric is None
        else _differences(first, metric, explored=findings.is_planned),
        rests_on=rests_on(findings),
        would_change=would_change(findings),
    )


def _differences(analysis: Analysis, metric: Metric, *, explored: bool) -> tuple[str, ...]:
    """Return which differences are shown, how the leader does against the base, and trade-offs."""
    metrics = analysis.rates if metric in analysis.rates else analysis.scores
    shown = _shown(analysis, metrics, explored=explored)
    found = (_against_base(analysis, metric), *shown, _trade_off(analysis))
    return tuple(sentence for sentence in found if sentence)


def _shown(analysis: Analysis, metrics: Sequence[Metric], *, explored: bool) -> Iterator[str]:
    """Name the largest differences that are shown in each metric, and count the rest."""
    tested = [
        (metric, made)
        for metric in metrics
        if (made := [f for f in differences(analysis, metric) if f.p_holm is not None])
    ]
    if not tested:
        if len(analysis.models) > 1:
            yield "No difference was tested."
        return
    said = []
    for metric, made in tested:
        shown = sorted((f for f in made if f.is_shown), key=lambda f: -f.difference.value)
        named = [f"{f.model} above {f.reference}" for f in shown[:_MOST_NAMED]]
        if len(shown) > len(named):
            named.append(f"{len(shown) - len(named)} more")
        said.append(f"{metric.title}, {listing(named) or f'none of {len(made)}'}")
    heading = "Explored differences" if explored else "Differences"
    yield f"{heading} that are shown (after Holm): {'; '.join(said)}."


def _against_base(analysis: Analysis, metric: Metric) -> str:
    """Return how the leading model does against the base model."""
    base, first = analysis.base, leaders(analysis, metric)
    found = values_of(analysis, metric)
    if base is None or base not in found or len(found) == 1:
        return ""
    if base in first:
        return f"No model has a higher {metric.title} than {base}."
    finding = between(analysis, metric, first[0], base)
    if finding is None:
        return ""
    if finding.p_holm is None:
        verdict = "; no test was made"
    else:
        tail = "shown" if finding.is_shown else "not shown"
        verdict = f", {p_in_words(finding.p_holm)} after Holm: {tail}"
    where = "higher"
    if finding.difference.value < 0.0:
        finding, where = turned(finding), "lower on the prompts that both have"
    return (
        f"Compared with {base}, the {metric.title} of {first[0]} is"
        f" {number(finding.difference.value, metric.digits)}{metric.points} {where}"
        f" {interval(finding.difference, metric.digits)}{verdict}."
    )


def _trade_off(analysis: Analysis) -> str:
    """Return which models lead where none leads in the rates of all axes; else ""."""
    rates = [rate for rate in analysis.rates if len(rate.axes) == 1]
    first = [leaders(analysis, rate) for rate in rates]
    num_models = max((len(values_of(analysis, rate)) for rate in rates), default=0)
    if num_models < 2 or len(rates) < 2 or not all(first) or set.intersection(*map(set, first)):
        return ""
    best = [models[0] for models in first]
    said = [
        f"{model} {'has ' if at == 0 else ''}the highest {rate.title}"
        f" ({figures_in_words(values_of(analysis, rate)[model], rate)})"
        for at, (rate, model) in enumerate(zip(rates, best, strict=True))
    ]
    shown = [
        rate.title
        for rate in rates
        if any(
            (finding := between(analysis, rate, *pair)) and finding.is_shown
            for pair in combinations(dict.fromkeys(best), 2)
        )
    ]
    both, these, none = ("both", "two", "neither") if len(rates) == 2 else ("all", "models", "none")
    return (
        f"No model leads in {both}: {', '.join(said)}; a difference between these {these} is shown"
        f" in {listing(shown) or none}."
    )
