"""Hygiene: responses that run on into a further turn."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.dialogue import has_role_tag
from alignstudy.metrics.responses import share


def runs_on(response: str) -> bool:
    """Return whether a response writes a further role tag (`Human:`, `Assistant:`).

    One `Assistant:` at the very start is not counted: where the prompt ends without the cue, as in
    the published study, a model has to write it.
    """
    return has_role_tag(response.lstrip().removeprefix("Assistant:"))


def role_tag_share(responses: Sequence[str]) -> float:
    """Share of responses that write a further role tag, in percent.

    Args:
        responses: What was generated, before the protocol's cuts.

    Raises:
        MetricError: If there is no response.
    """
    return share([runs_on(text) for text in responses], metric="role_tag_share")
