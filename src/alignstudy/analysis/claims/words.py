"""The words of verdicts: claims as sentences, and evidence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.rule import JudgeEvidence, power_of
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.formatting import (
    NAMES,
    NO_BREAK,
    RATES,
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
from alignstudy.records import Estimate

_PROMPTS = {"harmless": "harmful prompts", "helpful": "helpful prompts"}
_POINTS = {"median": "median score", "sd": "standard deviation", "min": "lowest score",
           "max": "highest score"}  # fmt: skip
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


def metric_name(metric: str) -> str:
    """Return what people call a figure."""
    if metric in NAMES:
        return NAMES[metric]
    kind, axis = metric.rsplit("_", 1)
    if kind == "judge_accuracy":
        return f"judge's accuracy on {_PROMPTS[axis]}"
    return f"{_POINTS[kind]} on {_PROMPTS[axis]}"


def claim_in_words(claim: Claim) -> str:
    """Return a claim as a person reads it: its own name, else made from what it says."""
    if claim.name:
        return claim.name
    metrics = listing([metric_name(metric) for metric in claim.metric])
    tail = f", {WITHOUT[claim.without]}" if claim.without else ""
    tail += ", in these responses" if claim.in_sample else ""
    if claim.is_bounded:
        whose = listing(list(claim.models)) if claim.models else "every model"
        if claim.metric[0].startswith("judge_accuracy"):
            return f"the {metrics} is {_bounds(claim)}"
        return f"{metrics} of {whose} is {_bounds(claim)}"
    others = listing(list(claim.than), word="or") if claim.than else "any other model"
    if claim.relation == "equivalent":
        within = _amount(claim.margin, claim.metric[0])
        return f"{claim.subject} is within {within} of {others} in {metrics}{tail}"
    by = f" by more than {_amount(claim.margin, claim.metric[0])}" if claim.margin else ""
    way = "higher" if claim.better is not None else "lower"
    return f"{claim.subject} is {way} than {others} in {metrics}{by}{tail}"


def _bounds(claim: Claim) -> str:
    ends = [
        f"{word} {short(value, 2)}"
        for word, value in (("at least", claim.at_least), ("at most", claim.at_most))
        if value is not None
    ]
    return " and ".join(ends)


def _amount(value: float, metric: str) -> str:
    return f"{short(value, 2)}{' percentage points' if metric in RATES else ''}"


def value_in_words(value: float | None, metric: str) -> str:
    """Write a figure in its unit."""
    if metric in RATES or metric.startswith("judge_accuracy"):
        return percent(value)
    return number(value, 2)


def estimate_in_words(estimate: Estimate, metric: str) -> str:
    """Write a figure with its interval and the prompts behind it."""
    digits = 1 if metric in RATES or metric.startswith("judge_accuracy") else 2
    ends = f" {interval(estimate, digits)}" if estimate.low < estimate.high else ""
    return f"{value_in_words(estimate.value, metric)}{ends} (n{NO_BREAK}={NO_BREAK}{estimate.n})"


def pair_in_words(
    sights: Sequence[JudgeEvidence],
    *,
    margin: float,
    equivalence: bool,
    values: tuple[float | None, float | None],
) -> str:
    """Return what every judge's scores show of a pair, the first judge's in full.

    Args:
        sights: One a judge.
        margin: The claim's.
        equivalence: Whether the claim is that the two are alike.
        values: The two models' own figures, each over all of its responses that count.
    """
    first = sights[0]
    parts = [_figures(first.pair, values), _test(first.pair), _counts(first.pair)]
    if first.p_equivalent is not None:
        within = _amount(margin, first.pair.metric)
        parts.append(f"within {within}: {p_in_words(first.p_equivalent)}")
    if not equivalence and first.pair.p_value is not None and not first.supports(margin):
        parts.append(_planning(first, margin))
    parts += [
        f"with {sight.judge}: {_gap(sight.pair)}, {_holm(sight.pair)}" for sight in sights[1:]
    ]
    return "; ".join(part for part in parts if part)


def _figures(pair: Comparison, values: tuple[float | None, float | None]) -> str:
    ours, theirs = values
    name, first, second = (
        metric_name(pair.metric),
        value_in_words(ours, pair.metric),
        value_in_words(theirs, pair.metric),
    )
    whole = f"{name} {pair.model} {first}, {pair.reference} {second}"
    # A model's own figure is over all of its prompts, the difference over those of both.
    if (
        ours is not None
        and theirs is not None
        and abs(ours - theirs - pair.difference.value) > _SAME
    ):
        whole += ", and on the prompts that both have"
    return f"{whole}: {_gap(pair)}"


def _gap(pair: Comparison) -> str:
    digits = 1 if pair.metric in RATES else 2
    unit = " points" if pair.metric in RATES else ""
    ends = interval(pair.difference, digits)
    return f"{number(pair.difference.value, digits, signed=True)}{unit} {ends}"


def _test(pair: Comparison) -> str:
    if pair.p_value is None:
        return pair.note
    return f"{p_in_words(pair.p_value)} ({_holm(pair)}, {pair.test})"


def _holm(pair: Comparison) -> str:
    return f"Holm {p_value(pair.p_holm)}" if pair.p_holm is not None else pair.note


def _counts(pair: Comparison) -> str:
    prompts = plural(pair.n, "prompt")
    if pair.metric in RATES:
        return f"{pair.wins} against {pair.losses} discordant of {prompts}"
    return f"higher on {pair.wins} of {prompts}, lower on {pair.losses}"


def _planning(sight: JudgeEvidence, margin: float) -> str:
    """Return how much data there was for the observed difference."""
    reached = f"power {percent(100.0 * power_of(sight.pair, margin), 0)}"
    if sight.pair.power is None:
        return reached
    metric, least = sight.pair.metric, sight.pair.power.detectable
    if least is None:
        return reached
    told = f"{number(least, 1)} points" if metric in RATES else number(least, 2)
    return f"{reached}, where {told} could be found with 80 %"


def briefly(evidence: str) -> str:
    """Return the figures and the test of a part's evidence, without what stands beside them."""
    return "; ".join(evidence.split("; ")[:2])


def needed_in_words(n_needed: int | None, metric: str) -> str:
    """Return how many prompts it would take."""
    if n_needed is None:
        return ""
    each = " of each set" if metric == "cas" else ""
    return f"{count(n_needed)} paired prompts{each} needed for 80 % power"


def thresholds_in_words(analysis: Analysis, metric: str, pair: tuple[str, str]) -> str:
    """Say at which share of thresholds the first model of a pair is higher; "" without a sweep."""
    names = {"hmr": "harmless", "hpr": "helpful"}
    for sweep in analysis.sweeps:
        if sweep.axis == names.get(metric):
            for item in sweep.pairs:
                if {item.model, item.reference} == set(pair):
                    share = item.better_share if item.model == pair[0] else item.worse_share
                    return (
                        f"higher at {percent(share, 0)} of {len(sweep.thresholds)} thresholds,"
                        f" the study's difference shown at {percent(item.shown_share, 0)}"
                    )
    return ""


def best_in_words(metrics: Sequence[str], model: str, analysis: Analysis) -> str:
    """Return how often a model comes out first when prompts are drawn again; "" if not known."""
    shares = [(metric, analysis.best_shares.get(metric, {}).get(model)) for metric in metrics]
    told = [
        f"{percent(share, 0)} ({metric_name(name)})" for name, share in shares if share is not None
    ]
    return f"{model} comes out highest in {listing(told)} of resamples" if told else ""
