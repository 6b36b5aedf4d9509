"""The answer in plain sentences, by rule, from the comparisons alone.

A difference is called *real* where its p-value, corrected by Holm for all comparisons that were
made, is below `ALPHA`; everything else is "no difference is shown", which is not "no difference".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alignstudy.records import Estimate
from alignstudy.report.analysis import Analysis, Comparison
from alignstudy.report.numbers import (
    NAMES,
    NO_BREAK,
    RATES,
    digits_of,
    interval,
    listing,
    number,
    p_in_words,
    plural,
)

ALPHA = 0.05
_BY_WEIGHT = ("cas", "hpr", "hmr", "score_helpful", "score_harmless")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the study found.

    Attributes:
        headline: Which model leads, and whether that is established.
        sentences: What else can and can't be said.
    """

    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A comparison turned so that `better` has the higher value in this sample.

    Attributes:
        points: The difference, positive or zero.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p: Corrected p-value; None where no test was made.
    """

    metric: str
    better: str
    worse: str
    points: float
    low: float
    high: float
    p: float | None

    @property
    def is_shown(self) -> bool:
        """Whether the difference is real, as this module uses the word."""
        return self.p is not None and self.p < ALPHA

    def figures(self) -> str:
        """Write difference, interval and p-value for a bracket."""
        digits = digits_of(self.metric)
        unit = " points" if self.metric in RATES else ""
        text = f"{number(self.points, digits, signed=True)}{unit}"
        text += f" [{number(self.low, digits)}, {number(self.high, digits)}]"
        return text if self.p is None else f"{text}, {p_in_words(self.p)}"


def answer(analyses: Iterable[Analysis]) -> Answer:
    """Say what was found, the first judge first."""
    first, *others = analyses
    metric = leading_metric(first)
    if metric is None:
        return Answer(
            headline="Nothing was measured: no response has a score.",
            sentences=tuple(first.notes),
        )
    sentences = [*_against_base(first, metric), *_against_rest(first, metric)]
    sentences += [_over_metric(first, m) for m in _BY_WEIGHT if m != metric and _has(first, m)]
    sentences += [_by_other_judge(first, other, metric) for other in others]
    sentences.append(_seeds_caveat(first))
    return Answer(headline=_headline(first, metric), sentences=tuple(filter(None, sentences)))


def leading_metric(analysis: Analysis) -> str | None:
    """Give the figure of merit to lead with: CAS, or the first that was measured."""
    return next((metric for metric in _BY_WEIGHT if _has(analysis, metric)), None)


def leaders(analysis: Analysis, metric: str) -> tuple[str, ...]:
    """Give the model with the highest value, or all that share it."""
    found = _values(analysis, metric)
    top = max(estimate.value for estimate in found.values())
    return tuple(model for model, estimate in found.items() if estimate.value == top)


def findings(analysis: Analysis, metric: str) -> list[Finding]:
    """Give all comparisons of a figure of merit, each with the better model first."""
    return [_turned(item) for item in analysis.comparisons if item.metric == metric]


def _turned(item: Comparison) -> Finding:
    """Turn a comparison so that the difference isn't negative."""
    gap, p = item.difference, item.p_holm
    if gap.value < 0:
        return Finding(
            metric=item.metric, better=item.reference, worse=item.model,
            points=-gap.value, low=-gap.high, high=-gap.low, p=p,
        )  # fmt: skip
    return Finding(
        metric=item.metric, better=item.model, worse=item.reference,
        points=gap.value, low=gap.low, high=gap.high, p=p,
    )  # fmt: skip


def _values(analysis: Analysis, metric: str) -> dict[str, Estimate]:
    """Give model -> estimate, models without one left out."""
    pairs = ((model.model, getattr(model, metric)) for model in analysis.models)
    return {model: estimate for model, estimate in pairs if estimate is not None}


def _has(analysis: Analysis, metric: str) -> bool:
    return bool(_values(analysis, metric))


def _headline(analysis: Analysis, metric: str) -> str:
    """Say which model leads, and whether the lead is established."""
    found, first = _values(analysis, metric), leaders(analysis, metric)
    top = found[first[0]]
    digits, name = digits_of(metric), NAMES[metric]
    figures = f"{number(top.value, digits)} {interval(top, digits)}, n{NO_BREAK}={NO_BREAK}{top.n}"
    if len(found) == 1:
        return f"{first[0]} has {name} {figures}; with one model nothing is compared."
    if len(first) == len(found):
        return f"No difference: all {len(found)} models have the same {name} ({figures})."
    if len(first) > 1:
        return f"{listing(first)} share the highest {name} ({figures})."
    rivals = _unseparated(analysis, metric, first[0])
    if not rivals:
        return f"{first[0]} has the highest {name} ({figures}), and its lead is a real difference."
    verdict = f"its lead over {listing(rivals)} is not established"
    return f"{first[0]} has the highest {name} ({figures}), but {verdict}."


def _unseparated(analysis: Analysis, metric: str, best: str) -> list[str]:
    """Give the models that the best one is not shown to be above."""
    beaten = {f.worse for f in findings(analysis, metric) if f.better == best and f.is_shown}
    return [model for model in _values(analysis, metric) if model not in beaten | {best}]


def _between(analysis: Analysis, metric: str, one: str, two: str) -> Finding | None:
    """Give the comparison of two models, whichever was the reference."""
    pair = {one, two}
    return next((f for f in findings(analysis, metric) if {f.better, f.worse} == pair), None)


def _against_base(analysis: Analysis, metric: str) -> list[str]:
    """Say how the leading model does against the base model."""
    base, best = analysis.base, leaders(analysis, metric)[0]
    found = _values(analysis, metric)
    if base is None or base not in found or len(found) == 1:
        return []
    if base in leaders(analysis, metric):
        return [f"No model has a higher {NAMES[metric]} than {base}."]
    finding = _between(analysis, metric, best, base)
    if finding is None:
        return []
    digits = digits_of(metric)
    unit = " points" if metric in RATES else ""
    low, high = number(finding.low, digits), number(finding.high, digits)
    return [
        f"Compared with {base}, the {NAMES[metric]} of {best} is {number(finding.points, digits)}"
        f"{unit} higher [{low}, {high}]{_verdict(finding)}."
    ]


def _verdict(finding: Finding) -> str:
    """Say what a test says of a difference."""
    if finding.p is None:
        return "; no test was made"
    verdict = "a real difference" if finding.is_shown else "not shown to be a real difference"
    return f", {p_in_words(finding.p)} after Holm: {verdict}"


def _against_rest(analysis: Analysis, metric: str) -> list[str]:
    """Say how the leading model does against each other trained model."""
    first = leaders(analysis, metric)
    found = _values(analysis, metric)
    rest = [model for model in found if model not in {first[0], analysis.base}]
    pairs = [_between(analysis, metric, first[0], model) for model in rest]
    sentences = []
    for finding in (pair for pair in pairs if pair is not None):
        other = finding.worse if finding.better == first[0] else finding.better
        if finding.is_shown:
            sentences.append(f"{finding.better} is above {finding.worse} ({finding.figures()}).")
        elif finding.p is None:
            sentences.append(
                f"Between {first[0]} and {other} no test was made ({finding.figures()})."
            )
        else:
            sentences.append(
                f"Between {first[0]} and {other} no difference is shown ({finding.figures()})."
            )
    return sentences


def _over_metric(analysis: Analysis, metric: str) -> str:
    """Sum up all comparisons of a figure of merit in one sentence."""
    made = findings(analysis, metric)
    tested = [finding.p for finding in made if finding.p is not None]
    name = NAMES[metric][0].upper() + NAMES[metric][1:]
    if not made:
        return ""
    if not tested:
        return f"{name}: no test was made."
    shown = [finding for finding in made if finding.is_shown]
    if not shown:
        least = p_in_words(min(tested))
        return (
            f"{name}: no difference between any two models is shown"
            f" ({plural(len(tested), 'comparison')}, smallest {least} after Holm)."
        )
    said = [f"{finding.better} above {finding.worse} ({finding.figures()})" for finding in shown]
    rest = len(tested) - len(shown)
    tail = f"; {plural(rest, 'other comparison')} without a shown difference" if rest else ""
    return f"{name}, real differences: {'; '.join(said)}{tail}."


def _by_other_judge(first: Analysis, other: Analysis, metric: str) -> str:
    """Say whether another judge puts the same model first."""
    if not _has(other, metric):
        return f"The judge {other.judge} gave no {NAMES[metric]}."
    theirs, ours = leaders(other, metric), leaders(first, metric)
    if len(theirs) == len(_values(other, metric)) > 1:
        return f"By the judge {other.judge} all models have the same {NAMES[metric]}."
    agrees = "agrees" if theirs == ours else "does not agree"
    verb = "has" if len(theirs) == 1 else "share"
    return (
        f"The judge {other.judge} {agrees} on who leads: by its scores {listing(theirs)} {verb}"
        f" the highest {NAMES[metric]}."
    )


def _seeds_caveat(analysis: Analysis) -> str:
    """Say what the intervals don't cover."""
    if len(analysis.models) < 2:
        return ""
    if max(model.num_seeds for model in analysis.models) > 1:
        return ""
    return (
        "Each model is one training run: intervals and tests cover the choice of prompts, not the"
        " chance in training; other seeds may give another order."
    )
