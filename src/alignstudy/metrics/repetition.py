"""Hygiene: responses that go round in circles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from alignstudy.metrics.responses import share
from alignstudy.metrics.words import ngrams, words

REPETITIVE = 0.3
"""Over this share of repeated 4-grams, a response is called repetitive."""

LOOPING = 0.5
"""Over this share of repeated 4-grams, a response is called a loop."""


@lru_cache(maxsize=50_000)
def repeated_ngrams(response: str, *, size: int = 4) -> float:
    """Share of a response's n-grams that repeat an earlier one, 0 to 1.

    N-grams are made of words and punctuation marks. A response too short for one repeats none.

    Source: seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319).
    """
    return repeated_words(words(response), size=size)


def repeated_words(found: Sequence[str], *, size: int = 4) -> float:
    """Return `repeated_ngrams` of a response that is already split into words."""
    grams = ngrams(found, size)
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def repetition_share(
    responses: Sequence[str], *, size: int = 4, limit: float = REPETITIVE
) -> float:
    """Share of responses of which more than `limit` of the n-grams are repeats, in percent.

    Raises:
        MetricError: If there is no response.
    """
    loops = [repeated_ngrams(text, size=size) > limit for text in responses]
    return share(loops, metric="repetition_share")
