"""A verdict for every claim that was stated before the run; `rule` has the rule.

What a claim says is judged by tests, never by which number is larger: a claim is contradicted only
where the data reject it. Claims that describe a sample (that one model is the highest of several;
medians, spreads, bounds) and are false in it are "not borne out", which says nothing of another
sample. A claim with `in_sample`, and one about the ends of a sample, asks for no test.
"""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.claims.claims import Claim, Verdict, claim_faults, claimable
from alignstudy.analysis.claims.grounds import ClaimContext
from alignstudy.analysis.claims.parts import ClaimPart, parts_of
from alignstudy.analysis.claims.rule import UNDECIDED, Ruling, detectable, rulings
from alignstudy.analysis.claims.words import (
    best_in_words,
    briefly,
    claim_in_words,
    power_in_words,
    ruling_in_words,
)
from alignstudy.analysis.findings import Findings
from alignstudy.errors import InputError
from alignstudy.formatting import plural
from alignstudy.records import ScoredResponse

_MOST_PARTS = 3
"""Parts of a claim whose evidence is quoted."""


def verdicts(
    findings: Findings, claims: Sequence[Claim], responses: Sequence[ScoredResponse]
) -> tuple[Verdict, ...]:
    """Return a verdict for every claim; they are corrected for one another.

    Args:
        findings: All analyses and the judges' qualities; its own verdicts are not looked at.
        claims: In the study's order.
        responses: The rows that were analysed.

    Raises:
        InputError: If a claim names a model that is not there, or compares one with itself.
    """
    grounds = ClaimContext(findings, responses)
    for claim in claims:
        _check(claim, grounds)
    found = [parts_of(claim, grounds) for claim in claims]
    ruled = rulings([[each.part for each in parts] for parts in found])
    num_tested = sum(ruling.p_value is not None for ruling in ruled)
    return tuple(
        _verdict(claim, parts, ruling, num_tested, grounds)
        for claim, parts, ruling in zip(claims, found, ruled, strict=True)
    )


def _check(claim: Claim, grounds: ClaimContext) -> None:
    """Refuse a claim about models or figures that are not there."""
    words = claim_in_words(claim, grounds.axes)
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


def _verdict(
    claim: Claim,
    parts: Sequence[ClaimPart],
    ruling: Ruling,
    num_tested: int,
    grounds: ClaimContext,
) -> Verdict:
    """Put a ruling into words; a single part is the claim."""
    words = claim_in_words(claim, grounds.axes)
    if not parts:
        why = "there is no other model"
        return Verdict(claim=words, verdict="unmeasurable", evidence=why)
    judged = [
        _part_verdict(each, name, ruling, num_tested)
        for each, name in zip(parts, ruling.parts, strict=True)
    ]
    if len(judged) == 1:
        evidence, deciding = judged[0].evidence, judged
    else:
        deciding = [each for each in judged if each.verdict == ruling.verdict] or judged
        said = [briefly(each.evidence) for each in deciding[:_MOST_PARTS]]
        if len(deciding) > len(said):
            said.append(f"and {plural(len(deciding) - len(said), 'part')} more like these")
        said.append(ruling_in_words(ruling, num_tested))
        if claim.better is not None and not claim.than and claim.without is None:
            metrics = [claimable(grounds.axes)[name] for name in claim.metric]
            said.append(best_in_words(metrics, claim.better, grounds.findings.first))
        counted = f"{len(deciding)} of {plural(len(parts), 'part')} {ruling.verdict}: "
        evidence = counted + "; ".join(filter(None, said))
    return Verdict(
        claim=words,
        verdict=ruling.verdict,
        evidence=evidence,
        p_value=ruling.p_value,
        p_holm=ruling.p_holm,
        level=ruling.level,
        power=ruling.power,
        detectable=_detectable(parts, ruling),
        n_needed=ruling.n_needed,
        seeds_needed=ruling.seeds_needed,
        prompts=tuple(dict.fromkeys(prompt for each in deciding for prompt in each.prompts)),
        parts=tuple(judged) if len(judged) > 1 else (),
    )


def _detectable(parts: Sequence[ClaimPart], ruling: Ruling) -> float | None:
    """Return what could have been found with 80 % power, of an undecided claim of one figure."""
    if ruling.verdict not in UNDECIDED or len({each.metric.name for each in parts}) > 1:
        return None
    found = [detectable(each.part, ruling.level) for each in parts]
    known = [each for each in found if each is not None]
    return max(known) if len(known) == len(found) else None


def _part_verdict(found: ClaimPart, verdict: str, ruling: Ruling, num_tested: int) -> Verdict:
    """Put a part's verdict into words: figures and test, then what the study could find."""
    said = [*found.said, power_in_words(found.part, verdict, ruling.level, found.metric)]
    if len(ruling.parts) == 1 and ruling.p_value is not None:
        pair = found.part.evidence[0].pair
        whole = ruling_in_words(ruling, num_tested, "" if pair is None else pair.test)
        said[1 : 1 if pair is None else 2] = [whole]
    if found.part.judges_clash(ruling.level):
        said.append("the judges show the opposite of each other")
    return Verdict(
        claim=found.words,
        verdict=verdict,
        evidence="; ".join(filter(None, said)),
        level=ruling.level,
        prompts=found.prompts,
    )
