"""Many recipes in words: the set of the best, the control, what a lead is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignstudy.analysis.comparisons.orientation import leading_metric
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.formatting import listing, p_in_words, plural
from alignstudy.metrics.metric import Metric
from alignstudy.records.ranking import BestSet, ControlTest, RecipeCost
from alignstudy.report.text.headline import amount, sound_metric


def ranked_by(findings: Findings) -> Metric | None:
    """Return the figure that models are sorted by: a sound one where there is one."""
    return sound_metric(findings) or leading_metric(findings.first)


def ranking_in_words(
    analysis: Analysis, metric: Metric, costs: Sequence[RecipeCost]
) -> Iterator[str]:
    """Say what a table of all models means, a sentence or two for each of its columns."""
    yield f"Sorted by {metric.title}; higher is better."
    found = analysis.best_set(metric)
    if found is not None:
        yield _set_in_words(found)
    yield from _lead_in_words(analysis, metric)
    tests = [test for test in analysis.control_tests if test.metric == metric.name]
    if tests and found is not None:
        yield _control_in_words(tests, found)
    if any(cost.flops for cost in costs):
        yield (
            "Training: counted FLOPs of one seed's whole chain from the base on, shared stages"
            " included; tuning apart."
        )
    yield "KL: nats a response from the base. Words: mean length of a response."


def _set_in_words(found: BestSet) -> str:
    if found.p_any is None:
        return f"Which of them are among the best isn't told ({found.note})."
    whose = (
        "over training seeds and prompts"
        if found.seeds > 1
        else "between these trained models (training again may order them otherwise)"
    )
    return (
        "Among the best (coloured, column by column): the data don't show that another recipe is"
        f" better, {whose}. A recipe that is truly best is left out in at most one study of twenty,"
        " all recipes taken together; two that are in need not be alike."
    )


def _lead_in_words(analysis: Analysis, metric: Metric) -> Iterator[str]:
    for item in analysis.winner_leads:
        if item.metric == metric.name and len(analysis.models) > 1:
            yield (
                f"{item.model} is {amount(item.lead, metric)} ahead of the next on the prompts that"
                f" made it first; {amount(item.kept, metric)} is what a half's winner keeps on the"
                f" half that didn't choose it ({amount(item.apparent, metric)} on its own)."
            )


def _control_in_words(tests: Sequence[ControlTest], found: BestSet) -> str:
    shown = [test.model for test in tests if test.is_shown]
    first = (
        f"The test of all recipes comes first ({p_in_words(found.p_any)})"
        if found.p_any is not None
        else "No test of all recipes was made"
    )
    return (
        f"{tests[0].control} was declared as the control. {first}; then"
        f" {plural(len(tests), 'comparison')} with it, corrected by Holm: shown for"
        f" {listing(shown) or 'none'}. Every other pair that no claim states is exploration."
    )
