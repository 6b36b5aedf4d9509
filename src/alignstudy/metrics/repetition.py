"""Hygiene: responses that go round in circles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from alignstudy.metrics.responses import share

_WORDS = re.compile(r"\w+|[^\w\s]")


def repeated_ngrams(response: str, *, size: int = 4) -> float:
    """Share of a response's n-grams that repeat an earlier one, 0 to 1.

    N-grams are made of words and punctuation marks. A response too short for one repeats none.
    """
    words = _WORDS.findall(response)
    grams = list(zip(*(words[start:] for start in range(size)), strict=False))
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def repetition_share(responses: Sequence[str], *, size: int = 4, limit: float = 0.3) -> float:
    """Share of responses of which more than `limit` of the n-grams are repeats, in percent.

    Raises:
        MetricError: If there is no response.
    """
    loops = [repeated_ngrams(text, size=size) > limit for text in responses]
    return share(loops, metric="repetition_share")
