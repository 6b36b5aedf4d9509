"""A verdict for every claim that was stated before the run; `verdict_rule` has the rule.

What a claim says of models is judged by tests, never by which number is larger. There are three
exceptions, each about the sample itself. A claim that one model is the highest (or lowest) of
several is contradicted as soon as, in the sample, one of the others is beyond it in one of the
figures: no test is needed to see that the table says something else. A claim about medians,
spreads, ends or bounds is contradicted if it is false in the sample. A claim with `in_sample` is
nothing but true or false in the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from alignstudy.analysis.claims import pairs as verdict_pairs
from alignstudy.analysis.claims import points as verdict_points
from alignstudy.analysis.claims.claims import Claim, Verdict, claim_faults, claimable, is_point
from alignstudy.analysis.claims.grounds import ClaimContext
from alignstudy.analysis.claims.pairs import PairPart, judge_pair
from alignstudy.analysis.claims.points import judge_bounds, judge_point_pair
from alignstudy.analysis.claims.rule import conjunction
from alignstudy.analysis.claims.words import best_in_words, briefly, claim_in_words
from alignstudy.analysis.findings import Findings
from alignstudy.errors import InputError
from alignstudy.formatting import count, plural
from alignstudy.records import ScoredResponse

_NUM_TOLD = 3


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
    parts = list(_parts(claim, grounds))
    if not parts:
        why = "there is no other model"
        return Verdict(claim=words, verdict="unmeasurable", evidence=why)
    found = [
        judge_point_pair(p, grounds) if is_point(p.metric) else judge_pair(p, grounds)
        for p in parts
    ]
    whole = _whole(words, found)
    if claim.relation == "better" and len({part.pair for part in parts}) > 1:
        return _superlative(claim, parts, whole, found, grounds)
    return whole


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


def _parts(claim: Claim, grounds: ClaimContext) -> Iterator[PairPart]:
    """Return one part a figure and other model."""
    subject = claim.subject or ""
    others = claim.than or [
        figures.model for figures in grounds.findings.first.models if figures.model != subject
    ]
    known = claimable(grounds.axes)
    for metric in (known[name] for name in claim.metric):
        for other in others:
            yield PairPart(
                metric=metric,
                pair=(subject, other) if claim.better is not None else (other, subject),
                margin=claim.margin,
                equivalence=claim.relation == "equivalent",
                without=claim.without,
                in_sample=claim.in_sample,
            )


def _whole(words: str, parts: Sequence[Verdict]) -> Verdict:
    """Join the verdicts of a claim's parts; a single part is the claim."""
    if len(parts) == 1:
        return replace(parts[0], claim=words)
    ruling = conjunction(parts)
    deciding = [part for part in parts if part.verdict == ruling.verdict]
    told = [briefly(part.evidence) for part in deciding[:_NUM_TOLD]]
    if len(deciding) > len(told):
        told.append(f"and {plural(len(deciding) - len(told), 'part')} more like these")
    if ruling.n_needed is not None:
        told.append(f"up to {count(ruling.n_needed)} paired prompts needed for 80 % power")
    counted = f"{len(deciding)} of {plural(len(parts), 'part')} {ruling.verdict}: "
    return Verdict(
        claim=words,
        verdict=ruling.verdict,
        evidence=counted + "; ".join(told),
        n_needed=ruling.n_needed,
        prompts=tuple(dict.fromkeys(prompt for part in deciding for prompt in part.prompts)),
        parts=tuple(parts),
    )


def _superlative(
    claim: Claim,
    parts: Sequence[PairPart],
    whole: Verdict,
    found: Sequence[Verdict],
    grounds: ClaimContext,
) -> Verdict:
    """Return how often the model comes out first; another one beyond it contradicts the claim."""
    shares = ""
    if claim.better is not None and not claim.than and claim.without is None:
        shares = best_in_words(
            [claimable(grounds.axes)[name] for name in claim.metric],
            claim.better,
            grounds.findings.first,
        )
    beyond = [
        verdict
        for part, verdict in zip(parts, found, strict=True)
        if (verdict_points.other_way if is_point(part.metric) else verdict_pairs.points_other_way)(
            part, grounds
        )
    ]
    if not beyond:
        told = [whole.evidence, shares]
        return replace(whole, evidence="; ".join(text for text in told if text))
    told = [briefly(verdict.evidence) for verdict in beyond[:_NUM_TOLD]]
    many = f"in the sample {plural(len(beyond), 'part')} of {len(parts)} the other way round: "
    return replace(
        whole,
        verdict="contradicted",
        evidence=many + "; ".join([*told, *([shares] if shares else [])]),
        n_needed=None,
        prompts=tuple(dict.fromkeys(prompt for part in beyond for prompt in part.prompts)),
    )
