"""Warnings that a run's own numbers give rise to, beyond the notes of the analysis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.notes import MOST_APART
from alignstudy.analysis.results import Analysis
from alignstudy.data.ratings.rated import BINARY
from alignstudy.formatting import count, listing, number, percent, short
from alignstudy.metrics.axes import axis_named
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.text.budget import unequal_budgets
from alignstudy.report.text.likelihoods import collapses
from alignstudy.report.text.rewards import reward_cautions
from alignstudy.report.text.tuning import tuning_cautions

ROLE_TAG_SHARE, REPETITION_SHARE, QUARANTINED_SHARE = 5.0, 20.0, 1.0
JUDGE_FLOOR, AT_REST, TELLING_DIFFERENCE = 0.6, 0.02, 10.0


def cautions(inputs: ReportInputs) -> tuple[str, ...]:
    """Return the warnings, the gravest first, each once: one or two sentences each."""
    first = inputs.analyses[0]
    models = [model.model for analysis in inputs.analyses for model in analysis.models]
    baselines = {item.judge for item in inputs.findings.qualities if item.is_baseline}
    heeded = [a for a in inputs.analyses if a is first or a.judge not in baselines]
    noted = [
        note for held in inputs.findings.labels if held.judge == first.judge for note in held.notes
    ]
    noted += [note for analysis in heeded for note in analysis.notes]
    found = [
        f"Guard {guard.guard} did not pass in {record.recipe}: {guard.detail.rstrip('.')}."
        for record in inputs.training
        for guard in record.guards
        if not guard.passed
    ]
    found += [
        *reward_cautions(inputs.findings),
        *_calibrations(inputs, baselines),
        *(_sentence(text, models) for text in (*inputs.warnings, *noted)),
        *_judges(inputs),
        *_power(first),
        *_thresholds(inputs.analyses),
        *_hygiene(first),
        *_unmoved(inputs),
        *unequal_budgets(inputs.budget),
        *collapses(inputs.training),
        *tuning_cautions(inputs.tuning),
    ]
    found += [
        f"{count(len(audit.quarantined))} of {count(audit.read)} rows of {audit.part} could not be"
        " used; the data audit gives the reasons."
        for audit in inputs.audits
        if audit.read and 100 * len(audit.quarantined) / audit.read > QUARANTINED_SHARE
    ]
    return tuple(dict.fromkeys(found))


def _sentence(text: str, models: Sequence[str]) -> str:
    """Write a note as a sentence; a model's name keeps its own spelling."""
    text = text.strip()
    first = text.split(" ", 1)[0].rstrip(":,")
    start = text[:1] if first in models else text[:1].upper()
    return f"{start}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _calibrations(inputs: ReportInputs, baselines: Collection[str]) -> Iterator[str]:
    """Warn of a judge that hardly tells chosen from rejected answers."""
    for row in inputs.calibrations:
        accuracy = row.get("balanced_accuracy")
        is_heeded = row.get("judge") not in baselines
        if is_heeded and isinstance(accuracy, (int, float)) and accuracy < JUDGE_FLOOR:
            judge = f"the judge {row['judge']}" if row.get("judge") else "the judge"
            yield (
                f"On labelled pairs ({row.get('axis', 'one axis')}) {judge} is right in"
                f" only {percent(100 * accuracy, 0)} (chance is 50\u00a0%): its figures there say"
                " little."
            )


def _judges(inputs: ReportInputs) -> Iterator[str]:
    """Return what a reader has to know of each judge; then which prefer the longer response.

    A judge rewards length if it prefers the longer response surely more often than it is preferred.
    """
    for quality in inputs.findings.qualities:
        yield from (f"{quality.judge}: {note.rstrip('.')}." for note in quality.notes)
        if quality.batch_effect is not None and quality.batch_effect > 0:
            yield (
                f"{quality.judge}: a score changes by up to {quality.batch_effect:.2g} with what"
                " else is scored in the same batch."
            )
    for quality in inputs.findings.qualities:
        for item in quality.length:
            if item.judge_longer.low > item.human_longer.high:
                yield (
                    f"On {axis_named(item.axis).prompts} prompts the judge {quality.judge} prefers"
                    f" the longer response in {percent(item.judge_longer.value, 0)} of pairs; it is"
                    f" preferred in {percent(item.human_longer.value, 0)}: it rewards length."
                )


def _power(analysis: Analysis) -> Iterator[str]:
    """Warn where differences of interest can't be shown with so few prompts."""
    rates = [rate for rate in analysis.rates if rate.family == "rates"]
    found = [model.estimates.get(rate.name) for model in analysis.models for rate in rates]
    sizes = [estimate.n for estimate in found if estimate is not None]
    if len(analysis.models) < 2 or not sizes or min(sizes) < MIN_PROMPTS:
        return
    smallest = smallest_likely_difference(min(sizes))
    if smallest > TELLING_DIFFERENCE:
        names = listing([rate.title for rate in rates], word="or")
        yield (
            f"With {min(sizes)} prompts an axis, a difference in {names} under about"
            f" {short(smallest, 0)} points is unlikely to be shown even where there is one"
            " (80\u00a0% power, if two models disagree on 30\u00a0% of the prompts)."
        )


def smallest_likely_difference(num_prompts: int, *, discordance: float = 0.3) -> float:
    """Return the paired difference of two rates that a test shows with 80 % power, in points.

    Normal approximation of McNemar's test at a two-sided level of 5 %:
    `(1.96 + 0.84) * sqrt(discordance / n)`.
    Source: Miller 2024, "Adding Error Bars to Evals" (arXiv:2411.00640), section 5.
    """
    return 100 * 2.8 * math.sqrt(discordance / num_prompts)


def _thresholds(analyses: Sequence[Analysis]) -> Iterator[str]:
    for analysis in analyses:
        origins = analysis.thresholds.origin
        given = [
            f"{axis.name} {short(value, 4)}"
            for axis in analysis.axes
            if (value := analysis.thresholds.of(axis.name)) is not None
            and "calibrated" not in origins.get(axis.name, "").lower()
            and not origins.get(axis.name, "").startswith(BINARY)
        ]
        if given:
            yield (
                f"The thresholds for the judge {analysis.judge} ({listing(given)}) were not"
                " calibrated on labelled answers: rates depend on them, mean scores do not."
            )


def _hygiene(analysis: Analysis) -> Iterator[str]:
    """Warn of responses that run on or repeat themselves; notes tell where models differ in it."""
    for axis in analysis.axes:
        rows = {m.model: m.hygiene[axis.name] for m in analysis.models if axis.name in m.hygiene}
        tags = {model: row.role_tag for model, row in rows.items()}
        loops = {model: row.repetition for model, row in rows.items()}
        found = {"repeat themselves (over 30\u00a0% of the 4-grams)": (loops, REPETITION_SHARE)}
        if tags and max(tags.values()) - min(tags.values()) <= MOST_APART:  # else it is a note
            found = {"run on into a further turn": (tags, ROLE_TAG_SHARE), **found}
        for what, (shares, limit) in found.items():
            if any(share > limit for share in shares.values()):
                who = listing([f"{model} {percent(share, 0)}" for model, share in shares.items()])
                yield f"On {axis.prompts} prompts, responses that {what}: {who}."


def _unmoved(inputs: ReportInputs) -> Iterator[str]:
    """Warn of a training against a reference whose loss stayed where it starts."""
    for record in inputs.training:
        logged = [p["loss"] for p in record.curve if isinstance(p.get("loss"), (int, float))]
        against = any("implicit_reward_margin" in point for point in record.curve)
        if not against or record.final_loss is None or not logged:
            continue
        if abs(record.final_loss - logged[0]) < AT_REST * max(1.0, abs(logged[0])):
            yield (
                f"The last loss of {record.recipe} is {number(record.final_loss, 3)}, close to"
                f" {number(logged[0], 3)} where it starts: it hardly moved the model."
            )
