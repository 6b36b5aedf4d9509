"""The words of verdicts: claims as sentences, and evidence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.claims.claims import JUDGE_ACCURACY, Claim, claimable
from alignstudy.analysis.claims.rule import JudgeEvidence, power_of
from alignstudy.analysis.comparisons.orientation import gap_in_words
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.formatting import (
    NO_BREAK,
    count,
    interval,
    listing,
    number,
    p_in_words,
    p_value,
    percent,
    plural,
    short,
)
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, Estimate

_SAME = 1e-6
"""Differences closer than this are rounding errors."""

WITHOUT = {
    "empty": "without empty responses",
    "cap": "without responses cut at the limit",
    "role_tag": "without responses that run on",
    "loop": "without loops",
    "overlap": "without prompts that overlap training",
    "leak": "without prompts that hold an answer",
}


def claim_in_words(claim: Claim, axes: Sequence[Axis]) -> str:
    """Return a claim as a person reads it: its own name, else made from what it says."""
    if claim.name:
        return claim.name
    known = claimable(axes)
    found = [known[name] for name in claim.metric if name in known]
    metrics = listing([metric.title for metric in found] or list(claim.metric))
    is_rate = bool(found) and found[0].is_rate
    tail = f", {WITHOUT[claim.without]}" if claim.without else ""
    tail += ", in these responses" if claim.in_sample else ""
    if claim.is_bounded:
        whose = listing(list(claim.models)) if claim.models else "every model"
        if found and found[0].kind == JUDGE_ACCURACY.kind:
            return f"the {metrics} is {_bounds(claim)}"
        return f"{metrics} of {whose} is {_bounds(claim)}"
    others = listing(list(claim.than), word="or") if claim.than else "any other model"
    if claim.relation == "equivalent":
        within = _amount(claim.margin, is_rate=is_rate)
        return f"{claim.subject} is within {within} of {others} in {metrics}{tail}"
    by = f" by more than {_amount(claim.margin, is_rate=is_rate)}" if claim.margin else ""
    way = "higher" if claim.better is not None else "lower"
    return f"{claim.subject} is {way} than {others} in {metrics}{by}{tail}"


def _bounds(claim: Claim) -> str:
    ends = [
        f"{word} {short(value, 2)}"
        for word, value in (("at least", claim.at_least), ("at most", claim.at_most))
        if value is not None
    ]
    return " and ".join(ends)


def _amount(value: float, *, is_rate: bool) -> str:
    return f"{short(value, 2)}{' percentage points' if is_rate else ''}"


def value_in_words(value: float | None, metric: Metric) -> str:
    """Write a figure in its unit."""
    return percent(value) if metric.is_rate else number(value, metric.digits)


def estimate_in_words(estimate: Estimate, metric: Metric) -> str:
    """Write a figure with its interval and the prompts behind it."""
    ends = f" {interval(estimate, metric.digits)}" if estimate.low < estimate.high else ""
    return f"{value_in_words(estimate.value, metric)}{ends} (n{NO_BREAK}={NO_BREAK}{estimate.n})"


def pair_in_words(
    seen: Sequence[JudgeEvidence],
    *,
    metric: Metric,
    claim: Claim,
    values: tuple[float | None, float | None],
) -> str:
    """Return what every judge's scores show of a pair, the first judge's in full.

    Args:
        seen: One a judge.
        metric: What they are compared in.
        claim: What is said of the pair.
        values: The two models' own figures, each over all of its responses that count.
    """
    first, pair = seen[0], seen[0].pair
    ours, theirs = values
    own = [value_in_words(value, metric) for value in values]
    figures = f"{metric.title} {pair.model} {own[0]}, {pair.reference} {own[1]}"
    if ours is not None and theirs is not None:
        # A model's own figure is over all of its prompts, the difference over those of both.
        is_same = abs(ours - theirs - pair.difference.value) <= _SAME
        figures += "" if is_same else ", and on the prompts that both have"
    parts = [f"{figures}: {gap_in_words(pair, metric)}"]
    if pair.p_value is None:
        parts.append(pair.note)
    else:
        parts.append(f"{p_in_words(pair.p_value)} ({_holm(pair)}, {pair.test})")
    prompts = plural(pair.n, "prompt")
    if metric.is_rate:
        parts.append(f"{pair.wins} against {pair.losses} discordant of {prompts}")
    else:
        parts.append(f"higher on {pair.wins} of {prompts}, lower on {pair.losses}")
    if first.p_equivalent is not None:
        within = _amount(claim.margin, is_rate=metric.is_rate)
        parts.append(f"within {within}: {p_in_words(first.p_equivalent)}")
    if claim.relation == "better" and pair.p_value is not None and not first.supports(claim.margin):
        # How much data there was for the observed difference.
        reached = f"power {percent(100.0 * power_of(pair, claim.margin), 0)}"
        least = pair.power.detectable if pair.power is not None else None
        found = f"{number(least, metric.digits)}{metric.points}"
        could = "" if least is None else f", where {found} could be found with 80 %"
        parts.append(reached + could)
    parts += [
        f"with {other.judge}: {gap_in_words(other.pair, metric)}, {_holm(other.pair)}"
        for other in seen[1:]
    ]
    return "; ".join(part for part in parts if part)


def _holm(pair: Comparison) -> str:
    return f"Holm {p_value(pair.p_holm)}" if pair.p_holm is not None else pair.note


def briefly(evidence: str) -> str:
    """Return the figures and the test of a part's evidence, without what stands beside them."""
    return "; ".join(evidence.split("; ")[:2])


def needed_in_words(n_needed: int | None, metric: Metric) -> str:
    """Return how many prompts it would take."""
    if n_needed is None:
        return ""
    each = " of each set" if len(metric.axes) > 1 else ""
    return f"{count(n_needed)} paired prompts{each} needed for 80 % power"


def thresholds_in_words(analysis: Analysis, metric: Metric, pair: tuple[str, str]) -> str:
    """Return at which share of thresholds the first of a pair is higher; "" without a sweep."""
    for sweep in analysis.sweeps:
        if metric.family == "rates" and sweep.axis in metric.axes:
            for item in sweep.pairs:
                if {item.model, item.reference} == set(pair):
                    share = item.better_share if item.model == pair[0] else item.worse_share
                    return (
                        f"higher at {percent(share, 0)} of {len(sweep.thresholds)} thresholds,"
                        f" the study's difference shown at {percent(item.shown_share, 0)}"
                    )
    return ""


def best_in_words(metrics: Sequence[Metric], model: str, analysis: Analysis) -> str:
    """Return how often a model comes out first when prompts are drawn again; "" if not known."""
    shares = ((metric, analysis.best_shares.get(metric.name, {}).get(model)) for metric in metrics)
    said = [
        f"{percent(share, 0)} ({metric.title})" for metric, share in shares if share is not None
    ]
    return f"{model} comes out highest in {listing(said)} of resamples" if said else ""
