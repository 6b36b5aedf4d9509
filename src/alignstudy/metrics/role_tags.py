"""Hygiene: responses that run on into a further turn."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.dialogue import has_role_tag
from alignstudy.metrics.responses import share


def role_tag_share(responses: Sequence[str]) -> float:
    """Share of responses that write a further role tag (`Human:`, `Assistant:`), in percent.

    One `Assistant:` at the very start is not counted: where the prompt ends without the cue, as in
    the published study, a model has to write it.

    Args:
        responses: What was generated, before the protocol's cuts.

    Raises:
        MetricError: If there is no response.
    """
    rest = [text.lstrip().removeprefix("Assistant:") for text in responses]
    return share([has_role_tag(text) for text in rest], metric="role_tag_share")
