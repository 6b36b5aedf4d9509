"""What a claim is made of: its parts, and what the scores say of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alignstudy.analysis.claims.claims import JUDGE_ACCURACY, Claim, claimable, is_point
from alignstudy.analysis.claims.grounds import ClaimContext, PairPart
from alignstudy.analysis.claims.points import (
    accuracy_evidence,
    bound_evidence,
    is_end,
    point_evidence,
)
from alignstudy.analysis.claims.rule import Part
from alignstudy.analysis.claims.words import (
    figures_in_words,
    pair_in_words,
    statistics_in_words,
    thresholds_in_words,
)
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.metric import Metric


@dataclass(frozen=True, kw_only=True)
class ClaimPart:
    """A part of a claim with its words.

    Attributes:
        words: The part as a claim.
        part: What is tested.
        metric: The figure.
        said: The evidence: clauses, the figures first; why it is unmeasurable, where it is.
        prompts: Prompt ids that decide most.
    """

    words: str
    part: Part
    metric: Metric
    said: Sequence[str]
    prompts: tuple[str, ...] = ()


def parts_of(claim: Claim, grounds: ClaimContext) -> list[ClaimPart]:
    """Return what a claim is made of, and what the scores say of each part."""
    known = claimable(grounds.axes)
    metrics = [known[name] for name in claim.metric]
    models = [figures.model for figures in grounds.findings.first.models]
    if claim.is_bounded:
        found = []
        for metric in metrics:
            if metric.kind == JUDGE_ACCURACY.kind:
                found += _accuracy_parts(metric, claim, grounds)
            else:
                named = claim.models or models
                found += [_bound_part(metric, model, claim, grounds) for model in named]
        return found
    subject = claim.subject or ""
    others = claim.than or [model for model in models if model != subject]
    parts = [
        PairPart(claim, metric, (subject, other) if claim.better else (other, subject))
        for metric in metrics
        for other in others
    ]
    best_of = len(others) > 1 and claim.relation == "better"
    return [
        _point_part(part, grounds) if is_point(part.metric) else _pair_part(part, grounds, best_of)
        for part in parts
    ]


def _pair_part(part: PairPart, grounds: ClaimContext, best_of: bool) -> ClaimPart:
    """Look at a difference of two models' rates or mean scores."""
    claim = part.claim
    why = grounds.below_floor(part.metric)
    if claim.without == "cap" and any(row.stop_reason is None for row in grounds.responses):
        why = why or "it is not known why responses ended"
    seen = [] if why else grounds.evidence(part)
    if not seen:
        return ClaimPart(
            words=part.words, part=Part(), metric=part.metric, said=[why or part.missing]
        )
    analysis = next(a for a in grounds.findings.analyses if a.judge == seen[0].judge)
    # The two models' own figures, each over all of its responses that count.
    figures = {item.model: item.estimates.get(part.metric.name) for item in analysis.models}
    ours, theirs = (
        None if estimate is None else estimate.value for estimate in map(figures.get, part.pair)
    )
    if claim.without is not None:
        panel = grounds.panels(analysis, claim.without)[part.metric.axes[0]]
        rates = [panel.passed[panel.row(m)] for m in part.pair] if panel.passed is not None else []
        ours, theirs = (part.metric.of(row[~np.isnan(row)]) for row in rates)
    is_equivalence = claim.relation == "equivalent"
    said = [
        *pair_in_words(seen, metric=part.metric, values=(ours, theirs)),
        "" if claim.without else thresholds_in_words(analysis, part.metric, part.pair),
    ]
    return ClaimPart(
        words=part.words,
        part=Part(
            evidence=tuple(seen),
            is_equivalence=is_equivalence,
            is_description=best_of,
            in_sample=claim.in_sample,
            interest=claim.margin if is_equivalence else grounds.interest(part.metric, analysis),
        ),
        metric=part.metric,
        said=said,
        prompts=grounds.deciding(part),
    )


def _point_part(part: PairPart, grounds: ClaimContext) -> ClaimPart:
    """Look at which of two models has the higher median, spread or end of scores."""
    why = grounds.below_floor(part.metric)
    seen = [] if why else point_evidence(part, grounds)
    if not seen:
        return ClaimPart(
            words=part.words, part=Part(), metric=part.metric, said=[why or part.missing]
        )
    return ClaimPart(
        words=part.words,
        part=Part(
            evidence=tuple(evidence for evidence, _, _ in seen),
            is_description=True,
            in_sample=part.claim.in_sample or is_end(part.metric),
            interest=grounds.interest(part.metric, grounds.valid(part.metric)[0]),
        ),
        metric=part.metric,
        said=statistics_in_words(part, seen),
    )


def _bound_part(metric: Metric, model: str, claim: Claim, grounds: ClaimContext) -> ClaimPart:
    """Look at whether one model's figure lies within bounds."""
    words = f"{metric.title} of {model}"
    why = grounds.below_floor(metric)
    seen = [] if why else bound_evidence(metric, model, claim, grounds)
    if not seen:
        why = why or f"{words} was not measured"
        return ClaimPart(words=words, part=Part(), metric=metric, said=[why])
    part = Part(
        evidence=tuple(seen),
        is_description=True,
        in_sample=is_end(metric),
        interest=grounds.interest(metric, grounds.valid(metric)[0]),
    )
    return ClaimPart(
        words=words, part=part, metric=metric, said=figures_in_words(words, seen, metric)
    )


def _accuracy_parts(metric: Metric, claim: Claim, grounds: ClaimContext) -> list[ClaimPart]:
    """Look at whether each judge's accuracy lies within bounds."""
    seen = accuracy_evidence(metric, claim, grounds)
    if not seen:
        why = f"no judge's accuracy on {axis_named(metric.axes[0]).prompts} prompts was measured"
        return [ClaimPart(words=metric.title, part=Part(), metric=metric, said=[why])]
    found = []
    for evidence in seen:
        words = f"{evidence.judge}: {metric.title}"
        interest = grounds.interest(metric, grounds.findings.first)
        part = Part(evidence=(evidence,), is_description=True, interest=interest)
        said = figures_in_words(words, [evidence], metric)
        found.append(ClaimPart(words=words, part=part, metric=metric, said=said))
    return found
