"""The headline: what was found, in one or two plain sentences, by rule, from records alone.

It heeds what would make a lead worthless. On axes whose judge lies below its floor nothing is said
but that; where the leading model's answers are mostly broken, no model is called better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.comparisons.orientation import (
    between,
    gap_in_words,
    leaders,
    leading_metric,
    unseparated,
    values_of,
)
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.analysis.robustness.missing import frail_in_words
from alignstudy.formatting import NO_BREAK, interval, listing, number, percent, plural
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, Estimate
from alignstudy.records.ranking import BestSet
from alignstudy.report.text.rewards import hacked_models
from alignstudy.report.text.stamps import stamp_in_words, stamped_axes
from alignstudy.report.text.verdicts import VERDICTS
from alignstudy.stats.power.planning import ALPHA

MOSTLY = 50.0
"""Percent of a model's answers to one prompt set from which on they count as mostly broken."""

ENOUGH = 80.0
"""Percent of power from which on a difference of interest would have been seen."""

_BROKEN = {
    "empty": "are empty",
    "loop": "repeat themselves in loops",
    "echo": "repeat the prompt",
    "incoherent": "are no language",
}
_MOST_NAMED = 3

MANY = 5
"""With more models than that the report opens with one table of all, and who is among the best."""


def headline(findings: Findings) -> str:
    """Return the headline."""
    first, metric = findings.first, sound_metric(findings)
    said = [stamp_in_words(findings)]
    broken = broken_models(first)
    if leading_metric(first) is None:
        return "Nothing was measured: no response has a score."
    if metric is None:
        said = [f"{said[0]}; so no model is called better"]
    elif set(leaders(first, metric)) & {item.model for item in broken}:
        said.append(f"no model is called better: {_broken_in_words(broken)}")
        return _told(findings, said)
    else:
        scope = "" if findings.is_generated else _scope(first)
        said.append(f"{scope}{_lead(first, metric, explored=findings.is_planned)}")
        lead = set(leaders(first, metric))
        if (hacked := lead & hacked_models(findings)) and len(lead) < len(first.models):
            said[-1] += f"; {listing(sorted(hacked))} hacked a reward: don't trust that lead"
        if broken and len(first.models) > 1:
            said[-1] += f"; {_broken_in_words(broken)}, so a lead over them says little"
        frail = (item for item in first.lead_bounds if item.metric == metric.name)
        said += [frail_in_words(first, item) for item in frail if not item.survives][:1]
    said.append(_claims_in_short(findings.verdicts))
    return _told(findings, said)


def sound_metric(findings: Findings) -> Metric | None:
    """Return the figure to lead with among those whose axes have a judge above its floor."""
    unsound = {axis.name for axis in stamped_axes(findings, findings.first.judge)}
    return leading_metric(findings.first, without=unsound)


class Broken(NamedTuple):
    """A model most of whose answers to one prompt set are broken in one way; percent."""

    model: str
    axis: Axis
    what: str
    share: float


def broken_models(analysis: Analysis) -> list[Broken]:
    """Return the models most of whose answers are empty, loops, echoes or no language."""
    found = (
        Broken(model.model, axis, what, getattr(model.hygiene[axis.name], name))
        for name, what in _BROKEN.items()
        for axis in analysis.axes
        for model in analysis.models
        if axis.name in model.hygiene
    )
    return [item for item in found if item.share > MOSTLY]


def _broken_in_words(broken: Sequence[Broken]) -> str:
    """Say which models' answers are mostly broken, by what is wrong with most of them."""
    what, _ = Counter(item.what for item in broken).most_common(1)[0]
    shares = [item.share for item in broken if item.what == what]
    models = listing(list(dict.fromkeys(item.model for item in broken if item.what == what)))
    low, high = number(min(shares), 0), number(max(shares), 0)
    span = f"{'' if low == high else f'{low} to '}{high}{NO_BREAK}%"
    return f"of the answers of {models}, {span} {what}"


def _scope(analysis: Analysis) -> str:
    """Return what a lead is a lead between; "" where nothing is compared."""
    if len(analysis.models) < 2:
        return ""
    if len(analysis.seeds) > 1:
        return f"over {len(analysis.seeds)} training seeds, "
    return "between these trained models, "


def _lead(analysis: Analysis, metric: Metric, *, explored: bool) -> str:
    """Return which model leads, and whether the lead is shown.

    Args:
        analysis: Of the leading judge.
        metric: To lead with.
        explored: Whether claims were stated or a control was: other pairs are exploration.
    """
    found, first = values_of(analysis, metric), leaders(analysis, metric)
    name, figure = metric.in_full, figure_in_words(found[first[0]], metric)
    if len(found) == 1:
        return f"{first[0]} has the {name} {figure}; with one model nothing is compared"
    if len(first) == len(found):
        return (
            f"all {len(found)} models have the same {name}, {figure}: nothing tells them apart"
            " here, which doesn't show that they are alike"
        )
    if len(first) > 1:
        return f"{listing(first)} share the highest {name}, {figure}"
    lead = f"{first[0]} has the highest {name}, {figure}"
    best = analysis.best_set(metric)
    if best is not None and best.p_any is not None and is_many(analysis):
        return f"{lead}, {_among_many(best, first[0])}"
    rivals = unseparated(analysis, metric, first[0])
    if not rivals:
        how = "in exploration lies" if explored else "is shown to be"
        return f"{lead}, and {how} above every other model"
    said: dict[str, list[str]] = {}
    for rival in rivals:
        pair = between(analysis, metric, first[0], rival)
        gap = f" ({gap_in_words(pair, metric)})" if pair and len(rivals) == 1 else ""
        said.setdefault(undecided(pair, metric), []).append(f"{rival}{gap}")
    reasons = [f"its lead over {_named(names)} {why}" for why, names in said.items()]
    return f"{lead}, but {listing(reasons)}"


def is_many(analysis: Analysis) -> bool:
    """Whether there are so many models that pairs say less than the set of the best."""
    return len(analysis.models) > MANY


def _among_many(found: BestSet, leader: str) -> str:
    """Return how many of many models are not distinguishable from the best one."""
    others = [name for name in found.members if name != leader]
    rest = len(found.p_values) - 1
    if not others:
        return f"and all {rest} others are shown to be below it"
    are = "is" if len(others) == 1 else "are"
    return f"but {len(others)} of {rest} others {are} not distinguishable from it: {_named(others)}"


def _named(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return listing([*names[:_MOST_NAMED], f"{rest} more"] if rest > 0 else names)


def undecided(pair: Comparison | None, metric: Metric) -> str:
    """Return why a lead isn't shown, as the end of a sentence."""
    if pair is None or pair.p_holm is None:
        return "was not tested"
    if pair.is_shown and pair.difference.value < 0.0:
        return "is none: on the prompts that both have the other is shown to be above it"
    if pair.margin is not None and pair.p_equivalent is not None and pair.p_equivalent < ALPHA:
        return f"is none that matters: equivalent, within {amount(pair.margin, metric)}"
    power = pair.power
    if power and power.difference is not None and (power.power or 0.0) >= ENOUGH:
        return (
            f"is not shown, though one of {amount(power.difference, metric)} would have been seen"
            f" ({percent(power.power, 0)} power)"
        )
    return "is not shown: the study is too small to decide"


def amount(value: float, metric: Metric) -> str:
    """Write a difference with its unit; a judge's has no name."""
    return f"{number(value, metric.digits)}{metric.points}"


def figure_in_words(estimate: Estimate, metric: Metric) -> str:
    """Write a figure with its interval."""
    value = number(estimate.value, metric.digits)
    unit = f"{NO_BREAK}%" if metric.is_rate else ""
    return f"{value}{unit} {interval(estimate, metric.digits)}"


def _claims_in_short(verdicts: Sequence[Verdict]) -> str:
    """Return what became of the stated claims."""
    if len(verdicts) == 1:
        return f"the stated claim ({verdicts[0].claim}): {verdicts[0].verdict}"
    counted = Counter(item.verdict for item in verdicts)
    order = [name for name in (*VERDICTS, *counted) if counted[name]]
    amounts = [f"{counted[name]} {name}" for name in dict.fromkeys(order)]
    return f"of {plural(len(verdicts), 'stated claim')}: {', '.join(amounts)}" if amounts else ""


def _told(findings: Findings, said: Sequence[str]) -> str:
    """Join clauses as sentences; a model's name keeps its spelling."""
    clauses = [clause for clause in said if clause]
    if findings.is_generated:
        clauses[0] = f"in this demonstration on generated data, {clauses[0]}"
    models = tuple(model.model for model in findings.first.models)
    return " ".join(
        f"{clause if clause.startswith(models) else clause[:1].upper() + clause[1:]}."
        for clause in clauses
    )
