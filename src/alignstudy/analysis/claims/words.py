"""The words of verdicts: claims as sentences, and evidence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.claims.claims import JUDGE_ACCURACY, Claim, claimable
from alignstudy.analysis.claims.grounds import PairPart
from alignstudy.analysis.claims.rule import UNDECIDED, Evidence, Part, Ruling, detectable
from alignstudy.analysis.comparisons.orientation import gap_in_words
from alignstudy.analysis.results import Analysis
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
from alignstudy.stats.power.planning import prompts_for, seeds_for

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
    seen: Sequence[Evidence], *, metric: Metric, values: tuple[float | None, float | None]
) -> list[str]:
    """Return what every judge's scores show of a pair, in clauses, the first judge's in full.

    Args:
        seen: One a judge, each with its comparison.
        metric: What they are compared in.
        values: The two models' own figures, each over all of its responses that count.
    """
    pairs = [(each, each.pair) for each in seen if each.pair is not None]
    (first, pair), *others = pairs
    ours, theirs = values
    own = [value_in_words(value, metric) for value in values]
    figures = f"{metric.title} {pair.model} {own[0]}, {pair.reference} {own[1]}"
    if ours is not None and theirs is not None:
        # A model's own figure is over all of its prompts, the difference over those of both.
        is_same = abs(ours - theirs - pair.difference.value) <= _SAME
        figures += "" if is_same else ", and on the prompts that both have"
    prompts = plural(pair.n, "prompt")
    counts = f"higher on {pair.wins} of {prompts}, lower on {pair.losses}"
    if metric.is_rate:
        counts = f"{pair.wins} against {pair.losses} discordant of {prompts}"
    return [
        f"{figures}: {gap_in_words(pair, metric)}",
        _test_in_words(first),
        counts,
        "" if pair.survives_missing else "missing ratings could undo it",
        *(
            f"with {each.judge}: {gap_in_words(other, metric)}, {_test_in_words(each)}"
            for each, other in others
        ),
    ]


def _test_in_words(evidence: Evidence) -> str:
    """Return the smaller p-value of a part, and of which test it is."""
    if evidence.p_for is None or evidence.pair is None:
        return evidence.pair.note if evidence.pair is not None else ""
    against = 1.0 if evidence.p_against is None else evidence.p_against
    return f"{p_in_words(min(evidence.p_for, against))} ({evidence.pair.test})"


def statistics_in_words(part: PairPart, seen: Sequence[tuple[Evidence, float, float]]) -> list[str]:
    """Return the statistic of two models by every judge, and the difference with its interval."""
    found: list[str] = []
    for evidence, *values in seen:
        ours, theirs = (value_in_words(value, part.metric) for value in values)
        name = f"with {evidence.judge}: " if found else f"{part.metric.title} "
        text = f"{name}{part.pair[0]} {ours}, {part.pair[1]} {theirs}"
        gap = evidence.estimate
        if gap.low < gap.high:
            text += f": {number(gap.value, 2, signed=True)} {interval(gap, 2)}"
        found.append(text)
    return found


def figures_in_words(words: str, seen: Sequence[Evidence], metric: Metric) -> list[str]:
    """Return a model's figure by every judge, with its interval."""
    first, *others = seen
    return [
        f"{words} {estimate_in_words(first.estimate, metric)}",
        *(f"with {each.judge}: {estimate_in_words(each.estimate, metric)}" for each in others),
    ]


def ruling_in_words(ruling: Ruling, num_tested: int, test: str = "") -> str:
    """Return a claim's own p-value and what correction makes of it; "" without a test.

    Args:
        ruling: Of the claim.
        num_tested: Stated claims that were tested.
        test: Which test it was, where it was one.
    """
    if ruling.p_value is None:
        return ""
    of = f" ({test})" if test else ""
    holm = f", {p_value(ruling.p_holm)} after Holm over {num_tested} stated claims"
    return f"{p_in_words(ruling.p_value)}{of}{holm if num_tested > 1 else ''}"


def power_in_words(part: Part, verdict: str, level: float, metric: Metric) -> str:
    """Return what a study of this size can find of an undecided part; "" where it is decided."""
    if verdict not in UNDECIDED:
        return ""
    design = part.weakest(level)
    if design is None or part.interest is None:
        return "what it could have found isn't known"
    wanted = f"{short(part.interest, 2)}{metric.points}"
    power = 100.0 * design.power(part.interest, alpha=level)
    beyond = "equivalence within" if part.is_equivalence else "a difference of"
    said = [f"{beyond} {wanted} would be shown with a power of {percent(power, 0)}"]
    least = detectable(part, level)
    if least is not None:
        said.append(f"{number(least, metric.digits)}{metric.points} with 80 %")
    tests = [(design, part.interest)]
    takes = []
    if power < 80.0:
        needed, seeds = prompts_for(tests, alpha=level), seeds_for(tests, alpha=level)
        each = " of each set" if len(metric.axes) > 1 else ""
        takes += [] if needed is None else [f"{count(needed)} prompts{each}"]
        takes += [] if seeds is None else [f"{seeds} training seeds"]
    more = f"; it takes {' or '.join(takes)} for {wanted}" if takes else ""
    return f"{', '.join(said)}{more}"


def briefly(evidence: str) -> str:
    """Return the figures and the test of a part's evidence, without what stands beside them."""
    return "; ".join(evidence.split("; ")[:2])


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
