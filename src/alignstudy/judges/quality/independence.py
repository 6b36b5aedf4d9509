"""Whether a judge has learnt from the preferences that it is to judge."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SEPARATORS = re.compile(r"[^a-z0-9]+")
_ALIASES = {"hh": "hhrlhf", "anthropichh": "hhrlhf", "anthropichhrlhf": "hhrlhf"}


def independence_notes(
    judge_data: Sequence[str], policy_data: Sequence[str], *, trained_here: bool = False
) -> tuple[str, ...]:
    """Return where a judge is not independent of the models that it judges.

    A judge that learnt the same preferences as a policy rewards what the policy was trained to do,
    errors included; its scores are then no evidence apart from the training.

    Args:
        judge_data: Names of the preference data that the judge has learnt: "Anthropic/hh-rlhf".
        policy_data: Names, hub ids or folders of the data that trains the policies.
        trained_here: Whether the study itself trains the judge on (other) rows of that data.

    Returns:
        One note an overlap; nothing where none is known.

    Source: Gao et al. 2022, arXiv:2210.10760 (over-optimisation of a proxy).
    """
    theirs = {_canonical(name) for name in policy_data}
    shared = [name for name in dict.fromkeys(judge_data) if _canonical(name) in theirs]
    notes = [
        f"not independent: the judge was trained on {name}, which also trains the models"
        for name in shared
    ]
    if trained_here and not shared:
        notes.append("not independent: the judge was trained in this study, on the same source")
    return tuple(notes)


def _canonical(name: str) -> str:
    """Bring a name, hub id or path to one spelling."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    plain = _SEPARATORS.sub("", last)
    return _ALIASES.get(plain, plain)
