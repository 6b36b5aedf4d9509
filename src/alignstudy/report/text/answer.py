"""The answer in three to six plain sentences, by rule, from verdicts and comparisons alone.

It says who leads and whether that is established; with claims, what became of them; without, which
differences are real, what can't be told and what it would take. Either way it says what the judge
is worth, and where the rates disagree on who leads. A judge below its floor is the first
thing said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from alignstudy.analysis.claims.claims import VERDICTS, Verdict
from alignstudy.analysis.comparisons.orientation import (
    between,
    differences,
    figures_in_words,
    gap_with_p,
    lead_in_words,
    leaders,
    leading_metric,
    unseparated,
    values_of,
)
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.analysis.robustness.missing import frail_in_words
from alignstudy.data.ratings.rated import LOG
from alignstudy.formatting import NO_BREAK, count, interval, listing, number, p_in_words, plural
from alignstudy.metrics.metric import Metric
from alignstudy.report.text.stamps import accuracy_in_words, stamp_in_words
from alignstudy.stats.power.planning import ALPHA

MOST_SENTENCES = 6
_MOST_NAMED, _MOST_QUOTED = 3, 2
_GROUPS = (
    (("supported",), "Supported"),
    (("contradicted",), "Contradicted"),
    (("too small to decide",), "Too small to decide"),
    (("no difference of interest shown",), "No difference of interest shown"),
    (("not borne out",), "Not borne out in this sample"),
    (("equivalent",), "Equivalent, within the margin"),
    (("unmeasurable",), "Not measurable with these judges"),
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the study found.

    Attributes:
        headline: The verdict in a sentence; before it, a sentence on a judge below its floor.
        sentences: What else can and can't be said.
    """

    headline: str
    sentences: tuple[str, ...]


def answer(findings: Findings) -> Answer:
    """Return what was found, in at most `MOST_SENTENCES` sentences, the headline's included."""
    first = findings.first
    metric = leading_metric(first)
    if metric is None:
        return Answer(
            headline="Nothing was measured: no response has a score.",
            sentences=tuple(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in first.notes),
        )
    stamp = stamp_in_words(findings)
    lead = lead_in_words(first, metric)
    if findings.verdicts:
        found = _from_verdicts(findings.verdicts)
    else:
        found = _from_comparisons(first, metric)
    room = MOST_SENTENCES - (2 if stamp else 1)
    # A stamp has said already what the judge is worth; claims then need the room.
    worth = "" if stamp and findings.verdicts else _judge_sentence(findings, metric)
    # What is said of judge and trade-off goes before the later findings.
    last = [sentence for sentence in (worth, _trade_off(first)) if sentence]
    kept = [*found[: max(1, room - len(last))], *last][:room]
    frail = [
        f"{frail_in_words(first, item)}."
        for item in first.lead_bounds
        if item.metric == metric.name and not item.survives
    ]
    headline = " ".join(filter(None, (stamp, lead, *frail[:1])))
    return Answer(headline=headline, sentences=tuple(kept))


def _from_verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what became of the claims; then by kind of verdict the first, with their evidence."""
    amounts = Counter(item.verdict for item in verdicts)
    first, *rest = [name for name in VERDICTS if amounts[name]]
    claims = plural(len(verdicts), "claim")
    if len(verdicts) == 1:
        sentences = [f"The claim that was stated ({verdicts[0].claim}) is {first}."]
    elif not rest:
        sentences = [f"All {claims} that were stated are {first}."]
    else:
        verb = "is" if amounts[first] == 1 else "are"
        others = listing([f"{amounts[name]} {name}" for name in rest])
        sentences = [f"Of {claims} that were stated, {amounts[first]} {verb} {first}, {others}."]
    for names, heading in _GROUPS:
        group = [item for item in verdicts if item.verdict in names]
        said = []
        for item in group[:_MOST_QUOTED]:
            evidence = item.brief
            if item.n_needed is not None and item.verdict == "too small to decide":
                evidence += f"; it would take {count(item.n_needed)} prompts a set"
            said.append(f"{item.claim} ({evidence})" if evidence else item.claim)
        if len(group) > len(said):
            said.append(f"and {len(group) - len(said)} more, in the table of claims")
        if said:
            sentences.append(f"{heading}: {'; '.join(said)}.")
    return sentences


def _from_comparisons(analysis: Analysis, metric: Metric) -> list[str]:
    """Return what is real, what can't be decided, and how the leader does against the base."""
    to_base = _against_base(analysis, metric)
    found = [
        _real_in(analysis, analysis.rates, "Real differences"),
        _open_questions(analysis, metric),
        _real_in(analysis, analysis.scores, "Real differences in scores"),
    ]
    # That no model is above the base comes first; that one is stands among the real differences.
    found.insert(0 if analysis.base in leaders(analysis, metric) else 2, to_base)
    if to_base and found[0] != to_base and found[-1]:
        found.remove(to_base)
    return [sentence for sentence in found if sentence]


def _real_in(analysis: Analysis, metrics: Sequence[Metric], heading: str) -> str:
    """Name the largest real differences in each metric, and count the rest."""
    measured = [(m, found) for m in metrics if (found := differences(analysis, m))]
    if not measured:
        return ""
    said, num_tests = [], 0
    for metric, found in measured:
        made = [f for f in found if f.p_holm is not None]
        shown = sorted((f for f in made if f.is_shown), key=lambda f: -f.difference.value)
        num_tests += len(made)
        if shown:
            named = [
                f"{f.model} above {f.reference} ({gap_with_p(f, metric)})"
                for f in shown[:_MOST_NAMED]
            ]
            if len(shown) > len(named):
                named.append(f"{len(shown) - len(named)} more")
            said.append(f"{metric.title}, {listing(named)}")
        elif made:
            said.append(f"{metric.title}, none of {plural(len(made), 'comparison')}")
    if not num_tests:
        return f"{heading}: no test was made."
    return f"{heading} (after Holm): {'; '.join(said)}."


def _against_base(analysis: Analysis, metric: Metric) -> str:
    """Return how the leading model does against the base model."""
    base, first = analysis.base, leaders(analysis, metric)
    found = values_of(analysis, metric)
    if base is None or base not in found or len(found) == 1:
        return ""
    if base in first:
        return f"No model has a higher {metric.title} than {base}."
    finding = between(analysis, metric, first[0], base)
    if finding is None:
        return ""
    if finding.p_holm is None:
        verdict = "; no test was made"
    else:
        real = "a real difference" if finding.is_shown else "not shown to be a real difference"
        verdict = f", {p_in_words(finding.p_holm)} after Holm: {real}"
    return (
        f"Compared with {base}, the {metric.title} of {first[0]} is"
        f" {number(finding.difference.value, metric.digits)}{metric.points} higher"
        f" {interval(finding.difference, metric.digits)}{verdict}."
    )


def _open_questions(analysis: Analysis, metric: Metric) -> str:
    """Return which lead can't be told from chance, and how many prompts would tell."""
    best = leaders(analysis, metric)[0]
    rivals = unseparated(analysis, metric, best)
    pairs = [found for rival in rivals if (found := between(analysis, metric, best, rival))]
    if not pairs:
        return ""
    first = min(pairs, key=lambda finding: finding.difference.value)
    more = [f"{f.model} and {f.reference}" for f in pairs if f is not first]
    tail = f"; nor between {listing(more, word='or')}" if more else ""
    name, pair = metric.title, f"{first.model} and {first.reference}"
    figures = gap_with_p(first, metric)
    if first.p_equivalent is not None and first.p_equivalent < ALPHA and first.margin is not None:
        margin = f"{number(first.margin, metric.digits)}{metric.points}"
        return f"{pair} are equivalent in {name}, within {margin} ({figures}){tail}."
    needed = _needed(first, metric)
    return f"No difference in {name} is shown between {pair} ({figures}){needed}{tail}."


def _needed(finding: Comparison, metric: Metric) -> str:
    """Return what it would take to show such a difference, and what this study could show."""
    power = finding.power
    if power is None:
        return "; no test was made" if finding.p_holm is None else ""
    if power.detectable is None:
        return "; the models differ on no prompt"
    least = f"{number(power.detectable, metric.digits)}{metric.points}"
    here = f"with the prompts at hand {least} or more would be seen (80{NO_BREAK}% power)"
    takes = []
    if power.n_needed is not None:
        a_set = " a set" if len(metric.axes) > 1 else ""
        takes.append(f"{count(power.n_needed)} prompts{a_set}")
    if power.seeds_needed is not None:
        takes.append(f"{power.seeds_needed} training seeds")
    if not takes or power.difference is None:
        return f"; {here}"
    wanted = f"{number(power.difference, metric.digits)}{metric.points}"
    return f": to see {wanted} takes {' or '.join(takes)}; {here}"


def _trade_off(analysis: Analysis) -> str:
    """Return which models lead where none leads in the rates of all axes; else ""."""
    rates = [rate for rate in analysis.rates if len(rate.axes) == 1]
    first = [leaders(analysis, rate) for rate in rates]
    num_models = max((len(values_of(analysis, rate)) for rate in rates), default=0)
    if num_models < 2 or len(rates) < 2 or not all(first) or set.intersection(*map(set, first)):
        return ""
    best = [models[0] for models in first]
    said = [
        f"{model} {'has ' if at == 0 else ''}the highest {rate.title}"
        f" ({figures_in_words(values_of(analysis, rate)[model], rate)})"
        for at, (rate, model) in enumerate(zip(rates, best, strict=True))
    ]
    shown = [
        rate.title
        for rate in rates
        if any(
            (finding := between(analysis, rate, *pair)) and finding.is_shown
            for pair in combinations(dict.fromkeys(best), 2)
        )
    ]
    both, these, none = ("both", "two", "neither") if len(rates) == 2 else ("all", "models", "none")
    return (
        f"No model leads in {both}: {', '.join(said)}; a difference between these {these} is shown"
        f" in {listing(shown) or none}."
    )


def _judge_sentence(findings: Findings, metric: Metric) -> str:
    """Return how often the leading judge agrees with people, and whether other judges agree.

    Of what a log measured, which is no judge's opinion, there is nothing to say.
    """
    judge = findings.first.judge
    if judge == LOG:
        return ""
    quality = findings.quality(judge)
    measured = (
        [(axis, found) for axis in findings.first.axes if (found := quality.accuracy(axis.name))]
        if quality
        else []
    )
    if measured:
        said = [f"{accuracy_in_words(found)} on {axis.prompts} prompts" for axis, found in measured]
        worth = f"The judge {judge} agrees with people on {listing(said)} (chance: 50{NO_BREAK}%)"
    else:
        worth = f"Whether the judge {judge} agrees with people was not measured in this study"
    others = [_by_other_judge(findings.first, other, metric) for other in findings.analyses[1:]]
    return "; ".join((worth, *others)) + "."


def _by_other_judge(first: Analysis, other: Analysis, metric: Metric) -> str:
    """Return whether another judge puts the same model first."""
    theirs = leaders(other, metric)
    if not theirs:
        return f"the judge {other.judge} gave no {metric.title}"
    if len(theirs) == len(values_of(other, metric)) > 1:
        return f"by the judge {other.judge} all models have the same {metric.title}"
    if theirs == leaders(first, metric):
        return f"the judge {other.judge} agrees on who leads"
    verb = "has" if len(theirs) == 1 else "share"
    if len(leaders(first, metric)) == len(values_of(first, metric)):
        return f"by the judge {other.judge} {listing(theirs)} {verb} the highest {metric.title}"
    return (
        f"the judge {other.judge} does not agree on who leads: by its scores {listing(theirs)}"
        f" {verb} the highest {metric.title}"
    )
