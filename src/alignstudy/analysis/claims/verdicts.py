"""A verdict for every claim that was stated before the run; `rule` has the rule.

What a claim says of models is judged by tests, never by which number is larger. There are three
exceptions, each about the sample itself. A claim that one model is the highest (or lowest) of
several is contradicted as soon as, in the sample, one of the others is beyond it in one of the
figures: no test is needed to see that the table says something else. A claim about medians,
spreads, ends or bounds is contradicted if it is false in the sample. A claim with `in_sample` is
nothing but true or false in the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alignstudy.analysis.claims.claims import Claim, Verdict, claim_faults, claimable, is_point
from alignstudy.analysis.claims.grounds import ClaimContext, PairPart
from alignstudy.analysis.claims.points import judge_bounds, judge_point_pair, other_way
from alignstudy.analysis.claims.rule import Ruling, conjunction, rule_better, rule_equivalent
from alignstudy.analysis.claims.words import (
    best_in_words,
    briefly,
    claim_in_words,
    needed_in_words,
    pair_in_words,
    thresholds_in_words,
)
from alignstudy.analysis.findings import Findings
from alignstudy.errors import InputError
from alignstudy.formatting import count, plural
from alignstudy.records import ScoredResponse

_MOST_PARTS = 3
"""Parts of a claim whose evidence is quoted."""


def verdicts(
    findings: Findings, claims: Sequence[Claim], responses: Sequence[ScoredResponse]
) -> tuple[Verdict, ...]:
    """Return a verdict for every claim.

    Args:
        findings: All analyses and the judges' qualities; its own verdicts are not looked at.
        claims: In the study's order.
        responses: The rows that were analysed.

    Raises:
        InputError: If a claim names a model that is not there, or compares one with itself.
    """
    grounds = ClaimContext(findings, responses)
    return tuple(_verdict(claim, grounds) for claim in claims)


def _verdict(claim: Claim, grounds: ClaimContext) -> Verdict:
    words = claim_in_words(claim, grounds.axes)
    _check(claim, words, grounds)
    if claim.is_bounded:
        return _whole(words, judge_bounds(claim, grounds))
    subject, known = claim.subject or "", claimable(grounds.axes)
    models = [figures.model for figures in grounds.findings.first.models]
    parts = [
        PairPart(claim, known[name], (subject, other) if claim.better else (other, subject))
        for name in claim.metric
        for other in claim.than or [model for model in models if model != subject]
    ]
    if not parts:
        why = "there is no other model"
        return Verdict(claim=words, verdict="unmeasurable", evidence=why)
    found = [
        judge_point_pair(part, grounds) if is_point(part.metric) else _judge_pair(part, grounds)
        for part in parts
    ]
    whole = _whole(words, found)
    if claim.relation == "equivalent" or len({part.pair for part in parts}) == 1:
        return whole
    # How often the model comes out first; another one beyond it contradicts the claim.
    shares = ""
    if claim.better is not None and not claim.than and claim.without is None:
        shares = best_in_words(
            [claimable(grounds.axes)[name] for name in claim.metric],
            claim.better,
            grounds.findings.first,
        )
    beyond = [
        verdict for part, verdict in zip(parts, found, strict=True) if other_way(part, grounds)
    ]
    if not beyond:
        return replace(whole, evidence="; ".join(filter(None, (whole.evidence, shares))))
    said = [briefly(verdict.evidence) for verdict in beyond[:_MOST_PARTS]]
    many = f"in the sample {plural(len(beyond), 'part')} of {len(parts)} the other way round: "
    return replace(
        whole,
        verdict="contradicted",
        evidence=many + "; ".join(filter(None, (*said, shares))),
        n_needed=None,
        prompts=tuple(dict.fromkeys(prompt for part in beyond for prompt in part.prompts)),
    )


def _check(claim: Claim, words: str, grounds: ClaimContext) -> None:
    """Refuse a claim about models or figures that are not there."""
    for fault in claim_faults(claim, grounds.axes):
        raise InputError(f"the claim '{words}': {fault}", hint="state it otherwise")
    models = [figures.model for figures in grounds.findings.first.models]
    for name in claim.named():
        if name not in models:
            raise InputError(
                f"the claim '{words}' names '{name}', which is no model here",
                hint=f"choose among: {', '.join(models)}",
            )
    if claim.subject is not None and claim.subject in claim.than:
        raise InputError(
            f"the claim '{words}' compares '{claim.subject}' with itself",
            hint="name other models under `than`",
        )


def _judge_pair(part: PairPart, grounds: ClaimContext) -> Verdict:
    """Return the verdict on one part of a claim."""
    claim = part.claim
    below = grounds.below_floor(part.words, part.metric)
    if below is not None:
        return below
    if claim.without == "cap" and any(row.stop_reason is None for row in grounds.responses):
        return part.unmeasurable("it is not known why responses ended")
    seen = grounds.evidence(part)
    if not seen:
        return part.unmeasurable()
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
    if claim.in_sample and ours is not None and theirs is not None:
        ruling = Ruling("supported" if ours > theirs + claim.margin else "contradicted")
    else:
        rule = rule_equivalent if claim.relation == "equivalent" else rule_better
        ruling = rule(seen, claim.margin)
    said = [
        pair_in_words(seen, metric=part.metric, claim=claim, values=(ours, theirs)),
        needed_in_words(ruling.n_needed, part.metric),
        "" if claim.without else thresholds_in_words(analysis, part.metric, part.pair),
    ]
    return Verdict(
        claim=part.words,
        verdict=ruling.verdict,
        evidence="; ".join(text for text in said if text),
        n_needed=ruling.n_needed,
        prompts=grounds.deciding(part),
    )


def _whole(words: str, parts: Sequence[Verdict]) -> Verdict:
    """Join the verdicts of a claim's parts; a single part is the claim."""
    if len(parts) == 1:
        return replace(parts[0], claim=words)
    ruling = conjunction(parts)
    deciding = [part for part in parts if part.verdict == ruling.verdict]
    said = [briefly(part.evidence) for part in deciding[:_MOST_PARTS]]
    if len(deciding) > len(said):
        said.append(f"and {plural(len(deciding) - len(said), 'part')} more like these")
    if ruling.n_needed is not None:
        said.append(f"up to {count(ruling.n_needed)} paired prompts needed for 80 % power")
    counted = f"{len(deciding)} of {plural(len(parts), 'part')} {ruling.verdict}: "
    return Verdict(
        claim=words,
        verdict=ruling.verdict,
        evidence=counted + "; ".join(said),
        n_needed=ruling.n_needed,
        prompts=tuple(dict.fromkeys(prompt for part in deciding for prompt in part.prompts)),
        parts=tuple(parts),
    )
