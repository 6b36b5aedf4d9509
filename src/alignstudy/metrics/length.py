"""Hygiene: how long responses are."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.errors import MetricError


def mean_words(responses: Sequence[str]) -> float:
    """Mean length of responses in words (parts between blanks).

    Raises:
        MetricError: If there is no response.
    """
    if not responses:
        raise MetricError("mean_words is not defined without responses")
    return sum(len(text.split()) for text in responses) / len(responses)
