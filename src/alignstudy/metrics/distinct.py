"""Hygiene: how varied a model's words are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alignstudy.errors import MetricError
from alignstudy.metrics.words import ngrams, words


def distinct(responses: Iterable[str], *, size: int, budget: int | None = None) -> float | None:
    """Distinct n-grams over n-grams of the first `budget` words of all responses, 0 to 1.

    The more is written, the more of it is repeats, so two models compare only at one budget. No
    n-gram reaches across two responses; upper and lower case are one.

    Args:
        responses: In the order in which the budget is spent on them.
        size: Words in an n-gram, at least 1.
        budget: Words and punctuation marks to read; None reads all.

    Returns:
        None where there is no n-gram.

    Raises:
        MetricError: If `size` is below 1 or `budget` below 0.

    Source: distinct-n of Li et al. 2016 (arXiv:1510.03055), over a corpus.
    """
    return distinct_words((words(text) for text in responses), size=size, budget=budget)


def distinct_words(
    said: Iterable[Sequence[str]], *, size: int, budget: int | None = None
) -> float | None:
    """Return `distinct` of responses that are already split into words.

    Raises:
        MetricError: If `size` is below 1 or `budget` below 0.
    """
    if size < 1 or (budget is not None and budget < 0):
        raise MetricError(f"distinct is not defined for size {size} and budget {budget}")
    total, seen = 0, set()
    for found in _within(said, budget):
        grams = ngrams([word.lower() for word in found], size)
        total += len(grams)
        seen.update(grams)
    return len(seen) / total if total else None


def _within(said: Iterable[Sequence[str]], budget: int | None) -> Iterable[Sequence[str]]:
    """Return the words of each response until the budget is spent."""
    left = budget
    for found in said:
        yield found if left is None else found[:left]
        if left is not None:
            left -= min(left, len(found))
            if left == 0:
                return
