"""Rates without the responses that have a flaw of form: does a finding rest on them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set

import numpy as np

from alignstudy.analysis.hygiene import FLAGS, fails_as_empty
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.score_matrix import models_of, rating
from alignstudy.metrics.figures import rate_of
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.records.robustness import Sensitivity
from alignstudy.stats.intervals import wilson
from alignstudy.stats.resampling.clustered_share import clustered_share, effective_wilson

EXCLUSIONS = ("empty", "cap", "role_tag", "loop")
"""The flags whose responses are left out, one at a time."""


def sensitivities(
    rows: Sequence[ScoredResponse],
    thresholds: Thresholds,
    *,
    axes: Sequence[Axis],
    judge: str,
) -> tuple[Sensitivity, ...]:
    """Return the pass rates of every model without the flagged responses, flag by flag.

    A flag that no response of a prompt set has gives no row; nor does the cap where generation
    didn't say why a response ended. What is left out differs between models, so these rows are no
    comparison: they show how far the flawed responses carry a rate.

    Args:
        rows: Responses of all models and seeds, too long prompts left out.
        thresholds: What passes; an axis without one has no rate.
        axes: Those of the study.
        judge: Whose scores.

    Raises:
        InputError: If the judge didn't score a response.
    """
    found: list[Sensitivity] = []
    for flag in EXCLUSIONS:
        found += _rates_without(rows, flag, FLAGS[flag], thresholds, axes=axes, judge=judge)
    return tuple(found)


def without_prompts(
    rows: Sequence[ScoredResponse],
    prompt_ids: Set[str],
    thresholds: Thresholds,
    *,
    axes: Sequence[Axis],
    judge: str,
    name: str,
) -> tuple[Sensitivity, ...]:
    """Return the pass rates of every model without some prompts, the same for all models.

    Args:
        rows: Responses of all models and seeds, too long prompts left out.
        prompt_ids: The prompts to leave out; a prompt set that holds none of them gives no row.
        thresholds: What passes; an axis without one has no rate.
        axes: Those of the study.
        judge: Whose scores.
        name: Why they are left out: "overlap", "leak".

    Raises:
        InputError: If the judge didn't score a response.
    """

    def left_out(row: ScoredResponse) -> bool:
        return row.prompt_id in prompt_ids

    return tuple(_rates_without(rows, name, left_out, thresholds, axes=axes, judge=judge))


def _rates_without(
    rows: Sequence[ScoredResponse],
    name: str,
    left_out: Callable[[ScoredResponse], bool],
    thresholds: Thresholds,
    *,
    axes: Sequence[Axis],
    judge: str,
) -> Iterator[Sensitivity]:
    """Return the rates without some responses, of each prompt set that has any of them."""
    for axis in axes:
        here = [row for row in rows if row.axis == axis.name]
        unknown = name == "cap" and any(row.stop_reason is None for row in here)
        flagged = {id(row) for row in here if left_out(row)}
        if thresholds.of(axis.name) is None or not flagged or unknown:
            continue
        passed = [
            (row, bool(thresholds.passes(row.axis, score)) and not fails_as_empty(row, thresholds))
            for row in here
            if (score := rating(row, judge)) is not None
        ]
        for model in models_of(here):
            whole = [(row, ok) for row, ok in passed if row.model == model]
            rest = [(row, ok) for row, ok in whole if id(row) not in flagged]
            if whole:
                yield Sensitivity(
                    without=name,
                    metric=rate_of(axis).name,
                    model=model,
                    value=_rate(rest) if rest else None,
                    full=_rate(whole).value,
                    n=len(rest),
                )


def _rate(passed: Sequence[tuple[ScoredResponse, bool]]) -> Estimate:
    """Return the share of a model's responses that pass, in percent, with Wilson's interval.

    With several responses a prompt (training seeds), the mean over prompts of each one's share, at
    the effective number of responses: a prompt counts once, however many of its responses have a
    score.

    Args:
        passed: Responses of one model, at least one, and whether each passes.
    """
    by_prompt: dict[str, list[bool]] = {}
    for row, ok in passed:
        by_prompt.setdefault(row.prompt_id, []).append(ok)
    size, num_responses = len(by_prompt), len(passed)
    if size == num_responses:
        return wilson(sum(ok for _, ok in passed), num_responses)
    if len({len(values) for values in by_prompt.values()}) == 1:
        return clustered_share(np.array(list(by_prompt.values()), dtype=np.float64).T)
    shares = np.array([float(np.mean(values)) for values in by_prompt.values()])
    share, effective = float(shares.mean()), float(size)
    if 0.0 < share < 1.0 and size > 1:
        variance = float(shares.var(ddof=1)) / size
        worth = share * (1.0 - share) / variance if variance > 0.0 else num_responses
        effective = min(max(worth, size), num_responses)
    low, high = effective_wilson(share, effective)
    return Estimate(
        value=100.0 * share, low=low, high=high, n=num_responses, method="wilson, clustered"
    )
