"""Hygiene: responses without a word."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.metrics.responses import share


def empty_share(responses: Sequence[str]) -> float:
    """Share of responses that are empty or only blanks, in percent.

    Raises:
        MetricError: If there is no response.
    """
    return share([not text.strip() for text in responses], metric="empty_share")
