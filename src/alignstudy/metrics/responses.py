"""Shares of responses that have a property."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.errors import MetricError


def share(flags: Sequence[bool], *, metric: str) -> float:
    """Return the share of true flags, in percent.

    Raises:
        MetricError: If there is no response.
    """
    if not flags:
        raise MetricError(f"{metric} is not defined without responses")
    return 100.0 * sum(flags) / len(flags)
