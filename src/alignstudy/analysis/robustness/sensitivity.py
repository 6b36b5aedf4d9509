"""Rates without the responses that have a flaw of form: does a finding rest on them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import product

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
    excluded: Mapping[str, Set[str]] | None = None,
) -> tuple[Sensitivity, ...]:
    """Return the pass rates of every model without some responses.

    A flag or a set of prompts that no response of a prompt set has gives no row; nor does the cap
    where generation didn't say why a response ended. What is flagged differs between models, so
    those rows are no comparison: they show how far the flawed responses carry a rate.

    Args:
        rows: Responses of all models and seeds, too long prompts left out.
        thresholds: What passes; an axis without one has no rate.
        axes: Those of the study.
        judge: Whose scores.
        excluded: Why ("overlap", "leak") -> prompts to leave out for all models; None: leave out
            the responses with each of the flags `EXCLUSIONS`.

    Raises:
        InputError: If the judge didn't score a response.
    """
    found = []
    names = EXCLUSIONS if excluded is None else tuple(excluded)
    for name, axis in product(names, axes):
        here = [row for row in rows if row.axis == axis.name]
        unknown = name == "cap" and any(row.stop_reason is None for row in here)
        if excluded is None:
            flagged = {id(row) for row in here if FLAGS[name](row)}
        else:
            flagged = {id(row) for row in here if row.prompt_id in excluded[name]}
        if thresholds.of(axis.name) is None or not flagged or unknown:
            continue
        passed = [
            (row, bool(thresholds.passes(row.axis, score)) and not fails_as_empty(row, thresholds))
            for row in here
            if (score := rating(row, judge, thresholds.decimals)) is not None
        ]
        for model in models_of(here):
            whole = [(row, ok) for row, ok in passed if row.model == model]
            rest = [(row, ok) for row, ok in whole if id(row) not in flagged]
            if whole:
                found.append(
                    Sensitivity(
                        without=name,
                        metric=rate_of(axis).name,
                        model=model,
                        value=_rate(rest) if rest else None,
                        full=_rate(whole).value,
                        n=len(rest),
                    )
                )
    return tuple(found)


def _rate(passed: Sequence[tuple[ScoredResponse, bool]]) -> Estimate:
    """Return the share of a model's responses that pass, in percent, with Wilson's interval.

    With several responses a prompt (training seeds, samples), the mean over prompts of each one's
    share, at the effective number of responses: a prompt counts once, however many of its responses
    have a score.

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
