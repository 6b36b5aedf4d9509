"""Verdicts on one model against another in a rate or a mean score."""

from __future__ import annotations

import numpy as np

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.claims.grounds import ClaimContext, PairPart
from alignstudy.analysis.claims.rule import JudgeEvidence, Ruling, rule_better, rule_equivalent
from alignstudy.analysis.claims.words import needed_in_words, pair_in_words, thresholds_in_words


def evidence_of(part: PairPart, grounds: ClaimContext) -> list[JudgeEvidence]:
    """Return what each valid judge's scores show; judges that measured nothing are left out."""
    found = []
    for analysis in grounds.valid(part.metric):
        pair = grounds.compare(analysis, part)
        if pair is not None:
            tested = pair.p_value is not None
            found.append(
                JudgeEvidence(
                    judge=analysis.judge,
                    pair=pair,
                    num_sets=len(part.metric.axes),
                    p_equivalent=grounds.p_equivalent(analysis, part) if tested else None,
                )
            )
    return found


def judge_pair(part: PairPart, grounds: ClaimContext) -> Verdict:
    """Return the verdict on one part of a claim."""
    claim = part.claim
    below = grounds.below_floor(part.words, part.metric)
    if below is not None:
        return below
    if claim.without and not grounds.without_known(claim.without):
        return part.unmeasurable("it is not known why responses ended")
    seen = evidence_of(part, grounds)
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
