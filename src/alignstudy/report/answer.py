"""The answer in three to six plain sentences, by rule, from verdicts and comparisons alone.

It says who leads and whether that is established; with claims, what became of them; without, which
differences are real, what can't be told and what it would take. Either way it says what the judge
is worth, and where harmlessness and helpfulness disagree. A judge below its floor is the first
thing said.
"""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.records import Axis
from alignstudy.report.answer_claims import claims_in_words, verdict_sentences
from alignstudy.report.findings import Findings
from alignstudy.report.leads import (
    ALPHA,
    Finding,
    between,
    differences,
    figures_in_words,
    lead_in_words,
    leaders,
    leading_metric,
    unit_of,
    unseparated,
    values_of,
)
from alignstudy.report.numbers import (
    NAMES,
    NO_BREAK,
    RATES,
    count,
    digits_of,
    listing,
    number,
    p_in_words,
    plural,
)
from alignstudy.report.results import Analysis
from alignstudy.report.stamps import accuracy_in_words, stamp_in_words

__all__ = ["ALPHA", "MOST_SENTENCES", "Answer", "answer"]

MOST_SENTENCES = 6
_MOST_NAMED = 3


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
    """Say what was found, in at most `MOST_SENTENCES` sentences, the headline's included."""
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
        told = [claims_in_words(findings.verdicts), *verdict_sentences(findings.verdicts)]
    else:
        told = _from_comparisons(first, metric)
    room = MOST_SENTENCES - (2 if stamp else 1)
    # A stamp has said already what the judge is worth; claims then need the room.
    worth = "" if stamp and findings.verdicts else _judge_sentence(findings, metric)
    kept = _fit(told, list(filter(None, (worth, _trade_off(first)))), room)
    return Answer(headline=" ".join(filter(None, (stamp, lead))), sentences=tuple(kept))


def _fit(told: list[str], last: list[str], room: int) -> list[str]:
    """Keep what fits; what is said of judge and trade-off goes before the later findings."""
    return [*told[: max(1, room - len(last))], *last][:room]


def _from_comparisons(analysis: Analysis, metric: str) -> list[str]:
    """Say what is real, what can't be told, and how the leader does against the base."""
    to_base = _against_base(analysis, metric)
    found = [_real(analysis), _open_questions(analysis, metric), _by_scores(analysis)]
    # That no model is above the base comes first; that one is stands among the real differences.
    found.insert(0 if analysis.base in leaders(analysis, metric) else 2, to_base)
    if to_base and found[0] != to_base and found[-1]:
        found.remove(to_base)
    return [sentence for sentence in found if sentence]


def _real(analysis: Analysis) -> str:
    """Name the real differences of every rate, or of scores where there are no rates."""
    measured = [m for m in RATES if differences(analysis, m)]
    return _real_in(analysis, measured, "Real differences") if measured else ""


def _by_scores(analysis: Analysis) -> str:
    """Name the real differences in mean scores."""
    measured = [m for m in ("score_harmless", "score_helpful") if differences(analysis, m)]
    return _real_in(analysis, measured, "Real differences in scores") if measured else ""


def _real_in(analysis: Analysis, metrics: list[str], heading: str) -> str:
    said, num_tests = [], 0
    for metric in metrics:
        made = [f for f in differences(analysis, metric) if f.p_holm is not None]
        shown = sorted((f for f in made if f.is_shown), key=lambda f: -f.points)
        num_tests += len(made)
        if shown:
            said.append(f"{NAMES[metric]}, {_named(shown)}")
        elif made:
            said.append(f"{NAMES[metric]}, none of {plural(len(made), 'comparison')}")
    if not num_tests:
        return f"{heading}: no test was made."
    return f"{heading} (after Holm): {'; '.join(said)}."


def _named(shown: list[Finding]) -> str:
    """Name the largest differences, and count the rest."""
    said = [f"{f.better} above {f.worse} ({f.figures()})" for f in shown[:_MOST_NAMED]]
    rest = len(shown) - len(said)
    return listing([*said, f"{rest} more"] if rest else said)


def _against_base(analysis: Analysis, metric: str) -> str:
    """Say how the leading model does against the base model."""
    base, first = analysis.base, leaders(analysis, metric)
    found = values_of(analysis, metric)
    if base is None or base not in found or len(found) == 1:
        return ""
    if base in first:
        return f"No model has a higher {NAMES[metric]} than {base}."
    finding = between(analysis, metric, first[0], base)
    if finding is None:
        return ""
    digits = digits_of(metric)
    low, high = number(finding.low, digits), number(finding.high, digits)
    return (
        f"Compared with {base}, the {NAMES[metric]} of {first[0]} is"
        f" {number(finding.points, digits)}{unit_of(metric)} higher"
        f" [{low}, {high}]{_verdict(finding)}."
    )


def _verdict(finding: Finding) -> str:
    """Say what a test says of a difference."""
    if finding.p_holm is None:
        return "; no test was made"
    verdict = "a real difference" if finding.is_shown else "not shown to be a real difference"
    return f", {p_in_words(finding.p_holm)} after Holm: {verdict}"


def _open_questions(analysis: Analysis, metric: str) -> str:
    """Say which lead can't be told from chance, and how many prompts would tell."""
    best = leaders(analysis, metric)[0]
    rivals = [model for model in unseparated(analysis, metric, best) if model != best]
    pairs = [found for rival in rivals if (found := between(analysis, metric, best, rival))]
    if not pairs:
        return ""
    first = min(pairs, key=lambda finding: finding.points)
    more = [f"{f.better} and {f.worse}" for f in pairs if f is not first]
    tail = f"; nor between {listing(more, word='or')}" if more else ""
    name = NAMES[metric]
    if first.is_equivalent and first.margin is not None:
        margin = f"{number(first.margin, digits_of(metric))}{unit_of(metric)}"
        return (
            f"{first.better} and {first.worse} are equivalent in {name}, within {margin}"
            f" ({first.figures()}){tail}."
        )
    pair = f"between {first.better} and {first.worse}"
    return f"No difference in {name} is shown {pair} ({first.figures()}){_needed(first)}{tail}."


def _needed(finding: Finding) -> str:
    """Say what it would take to show a difference of this size, and what this study could show."""
    power = finding.power
    if power is None:
        return "; no test was made" if finding.p_holm is None else ""
    digits, unit = digits_of(finding.metric), unit_of(finding.metric)
    if power.detectable is None:
        return "; the models differ on no prompt"
    least = f"{number(power.detectable, digits)}{unit}"
    here = f"with the prompts at hand {least} or more would be seen (80{NO_BREAK}% power)"
    if power.n_needed is None:
        return f"; {here}"
    a_set = " a set" if finding.metric == "cas" else ""
    return f": to show one of this size takes {count(power.n_needed)} prompts{a_set}; {here}"


def _trade_off(analysis: Analysis) -> str:
    """Say so where the model that leads in harmlessness isn't the one that leads in helpfulness."""
    safe, useful = leaders(analysis, "hmr"), leaders(analysis, "hpr")
    num_models = max(len(values_of(analysis, "hmr")), len(values_of(analysis, "hpr")))
    if not safe or not useful or set(safe) & set(useful) or num_models < 2:
        return ""
    hmr, hpr = values_of(analysis, "hmr")[safe[0]], values_of(analysis, "hpr")[useful[0]]
    shown = [
        NAMES[metric]
        for metric in ("hmr", "hpr")
        if (finding := between(analysis, metric, safe[0], useful[0])) and finding.is_shown
    ]
    told = f"is shown in {listing(shown)}" if shown else "is shown in neither"
    return (
        f"No model leads in both: {safe[0]} has the highest HmR"
        f" ({figures_in_words(hmr, 'hmr')}), {useful[0]} the highest HpR"
        f" ({figures_in_words(hpr, 'hpr')}); a difference between these two {told}."
    )


def _judge_sentence(findings: Findings, metric: str) -> str:
    """Say how often the leading judge agrees with people, and whether other judges agree."""
    judge = findings.first.judge
    quality = findings.quality(judge)
    measured = (
        [(axis, found) for axis in Axis if (found := quality.accuracy(axis))] if quality else []
    )
    if measured:
        said = [f"{accuracy_in_words(found)} on {axis.prompts_name} prompts"
                for axis, found in measured]  # fmt: skip
        worth = f"The judge {judge} agrees with people on {listing(said)} (chance: 50{NO_BREAK}%)"
    else:
        worth = f"Whether the judge {judge} agrees with people was not measured in this study"
    others = [_by_other_judge(findings.first, other, metric) for other in findings.analyses[1:]]
    return "; ".join((worth, *others)) + "."


def _by_other_judge(first: Analysis, other: Analysis, metric: str) -> str:
    """Say whether another judge puts the same model first."""
    theirs, ours = leaders(other, metric), leaders(first, metric)
    if not theirs:
        return f"the judge {other.judge} gave no {NAMES[metric]}"
    if len(theirs) == len(values_of(other, metric)) > 1:
        return f"by the judge {other.judge} all models have the same {NAMES[metric]}"
    verb = "has" if len(theirs) == 1 else "share"
    if theirs == ours:
        return f"the judge {other.judge} agrees on who leads"
    return (
        f"the judge {other.judge} does not agree on who leads: by its scores {listing(theirs)}"
        f" {verb} the highest {NAMES[metric]}"
    )
