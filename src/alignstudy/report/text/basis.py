"""What an answer rests on, and what would change it: a few sentences each, by rule."""

from __future__ import annotations

from collections.abc import Iterator

from alignstudy.analysis.comparisons.orientation import (
    between,
    leaders,
    leading_metric,
    unseparated,
    values_of,
)
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.data.ratings.rated import LOG
from alignstudy.formatting import NO_BREAK, count, listing, percent
from alignstudy.metrics.metric import Metric
from alignstudy.report.text.headline import amount, broken_models, is_many, sound_metric
from alignstudy.report.text.rewards import rewards_in_short
from alignstudy.report.text.stamps import accuracy_in_words, stamped_axes

_FEW_SEEDS = 3


def rests_on(findings: Findings) -> tuple[str, ...]:
    """Return how many prompts and seeds there were, and what the judge is worth."""
    first, metric = findings.first, sound_metric(findings)
    winner = () if metric is None or broken_models(first) else _winner(first, metric)
    rewards = filter(None, [rewards_in_short(findings)])
    return (*_prompts_and_seeds(first), *winner, *_judges(findings), *rewards)


def _prompts_and_seeds(first: Analysis) -> Iterator[str]:
    sets, is_even = [], True
    for axis in first.axes:
        forms = ((m, m.hygiene.get(axis.name)) for m in first.models)
        sizes = [form.n // (m.num_seeds * m.num_samples) if form else 0 for m, form in forms]
        if max(sizes, default=0):
            sets.append(f"{count(max(sizes))} {axis.prompts}")
            is_even = is_even and min(sizes) == max(sizes)
    if sets:
        often = max(model.num_samples for model in first.models)
        times = f"{often} times " if often > 1 else ""
        tail = f"each answered {times}by every model"
        yield f"{listing(sets)} prompts, {tail if is_even else 'not all answered by every model'}."
    seeds = sorted({model.num_seeds for model in first.models})
    if seeds and seeds[-1] > 1:
        span = " to ".join(str(number) for number in dict.fromkeys((seeds[0], seeds[-1])))
        yield f"{span} training seeds a recipe: tests cover what training again would change."
    elif len(first.models) > 1:
        yield (
            "One training run a model: tests cover the draw of the prompts, not the chance in"
            " training."
        )


def _winner(first: Analysis, metric: Metric) -> Iterator[str]:
    """Return what is left of the winner's lead on prompts that did not choose it."""
    for item in first.winner_leads:
        if item.metric == metric.name:
            yield (
                "The winner's curse: a half of the prompts puts its winner"
                f" {amount(item.apparent, metric)} ahead of the next, the other half"
                f" {amount(item.kept, metric)}."
            )


def _judges(findings: Findings) -> Iterator[str]:
    first = findings.first
    quality = findings.quality(first.judge)
    found = [(axis, quality and quality.accuracy(axis.name)) for axis in first.axes]
    said = [
        f"{accuracy_in_words(worth)} on {axis.prompts} prompts" for axis, worth in found if worth
    ]
    if said:
        yield (
            f"The judge {first.judge} picks the preferred answer in {listing(said)}"
            f" (chance: 50{NO_BREAK}%)."
        )
    elif first.judge != LOG:  # what a log measured is no judge's opinion
        yield f"What the judge {first.judge} is worth was not measured in this study."
    if findings.is_generated:
        yield (
            "Generated data: a program wrote the prompts, the preferences and what the judge"
            " learnt from, so none of this tells of people."
        )
    metric = sound_metric(findings) or leading_metric(first)
    others = [a for a in findings.analyses[1:] if not findings.is_baseline(a.judge)]
    yield from (_by_other_judge(first, other, metric) for other in others if metric)


def _by_other_judge(first: Analysis, other: Analysis, metric: Metric) -> str:
    """Return whether another judge puts the same model first."""
    theirs, ours = leaders(other, metric), leaders(first, metric)
    if not theirs:
        return f"The judge {other.judge} gave no {metric.title}."
    if len(theirs) == len(values_of(other, metric)) > 1:
        return f"By the judge {other.judge} all models have the same {metric.title}."
    if theirs == ours:
        return f"The judge {other.judge} agrees on who leads."
    verb = "has" if len(theirs) == 1 else "share"
    opinion = f"by its scores {listing(theirs)} {verb} the highest {metric.title}"
    if len(ours) == len(values_of(first, metric)):
        return f"The judge {other.judge} tells models apart: {opinion}."
    return f"The judge {other.judge} does not agree on who leads: {opinion}."


def would_change(findings: Findings) -> tuple[str, ...]:
    """Return what could turn the answer, or settle it, the most needed first."""
    first, metric = findings.first, sound_metric(findings)
    found = []
    if unsound := stamped_axes(findings, first.judge):
        names = listing([axis.prompts for axis in unsound], word="or")
        found.append(f"A judge that lies above its floor on {names} prompts.")
    if broken_models(first):
        found.append(
            "Answers that are whole: look at the template, the decoding and the end of training."
        )
    elif metric is not None and len(values_of(first, metric)) > 1:
        found += [*_more_data(first, metric), *_other_thresholds(first, metric)]
    if findings.quality(first.judge) is None and first.judge != LOG:
        found.append("Labelled pairs to try the judge on (validation, in the study file).")
    elif findings.quality(first.judge) and not findings.is_generated:
        found.append(
            "People's labels on some of these answers: the judge was tried on the data's pairs,"
            " not on what these models write."
        )
    return tuple(found)


def _more_data(first: Analysis, metric: Metric) -> Iterator[str]:
    """Return how many prompts and seeds would settle the lead; of many, how far it must go."""
    yield from _larger_lead(first, metric) if is_many(first) else _lead_settled(first, metric)
    seeds = max((model.num_seeds for model in first.models), default=1)
    if seeds < _FEW_SEEDS:
        yield (
            f"More training seeds, {_FEW_SEEDS} or more: whether the recipe is better, not only the"
            " model it gave."
        )


def _larger_lead(first: Analysis, metric: Metric) -> Iterator[str]:
    found = first.best_set(metric)
    if found is not None and found.reach is not None and len(found.members) > 1:
        yield (
            "A larger difference: about"
            f" {amount(found.reach, metric)} below another a model leaves the set of the best;"
            " more prompts or training seeds make that smaller."
        )


def _lead_settled(first: Analysis, metric: Metric) -> Iterator[str]:
    best = leaders(first, metric)[0]
    pairs = [between(first, metric, best, rival) for rival in unseparated(first, metric, best)]
    known = [pair for pair in pairs if pair is not None and pair.power is not None]
    if known:
        pair = min(known, key=lambda item: item.difference.value)
        power, takes = pair.power, []
        if power and power.n_needed is not None:
            a_set = " a set" if len(metric.axes) > 1 else ""
            takes.append(f"about {count(power.n_needed)} prompts{a_set}")
        if power and power.seeds_needed is not None:
            takes.append(f"{power.seeds_needed} training seeds")
        if takes and power and power.difference is not None:
            yield (
                f"More data: to find a lead of {amount(power.difference, metric)} over"
                f" {pair.reference} takes {listing(takes, word='or')}."
            )
        if power and power.detectable is not None:
            yield (
                f"A larger difference: this study shows {amount(power.detectable, metric)} or more"
                f" (80{NO_BREAK}% power)."
            )


def _other_thresholds(first: Analysis, metric: Metric) -> Iterator[str]:
    """Return where other thresholds put another model first."""
    for sweep in first.sweeps:
        if sweep.axis not in metric.axes:
            continue
        rate = first.rate_on(sweep.axis)
        best = leaders(first, rate)
        share = sweep.best_share.get(best[0], 0.0) if len(best) == 1 else 100.0
        if share < 75.0:
            yield (
                f"Another threshold: {best[0]} has the highest {rate.title} at"
                f" {percent(share, 0)} of those tried."
            )
