"""Hygiene: responses that the limit on new tokens cut off."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.metrics.responses import share
from alignstudy.records import StopReason


def cap_share(stop_reasons: Sequence[str]) -> float:
    """Share of responses that ended at the limit on new tokens, in percent.

    Args:
        stop_reasons: As generation recorded them, by token position; never guessed from text.

    Raises:
        MetricError: If there is no response.
    """
    return share([reason == StopReason.CAP for reason in stop_reasons], metric="cap_share")
