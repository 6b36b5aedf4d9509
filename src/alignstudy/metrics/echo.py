"""Hygiene: responses that repeat the prompt's last turn."""

from __future__ import annotations

import re
from collections.abc import Sequence

from alignstudy.dialogue import parse_turns
from alignstudy.errors import MetricError
from alignstudy.metrics.responses import share

FEWEST_WORDS = 4
"""A turn of fewer words ("Thank you.") may well come back in an answer."""

FEWEST_COPIED = 8
"""A response of so many words that lies wholly in the turn is an echo too: the cap cut it."""

_LETTERS = re.compile(r"\w+")
_TAGS = re.compile(r"^\s*(?:(?:Human|Assistant):\s*)+")


def echoes(prompt: str, response: str) -> bool:
    """Return whether a response repeats the prompt's last turn, word by word.

    Either the whole turn stands in the response, or the response stands in the turn. Case,
    punctuation and role tags at the response's beginning don't matter.
    """
    turn = _plain(_last_turn(prompt))
    answer = _plain(_TAGS.sub("", response))
    if turn.count(" ") - 1 >= FEWEST_WORDS and turn in answer:
        return True
    return answer.count(" ") - 1 >= FEWEST_COPIED and answer in turn


def echo_share(prompts: Sequence[str], responses: Sequence[str]) -> float:
    """Share of responses that repeat their prompt's last turn, in percent.

    Raises:
        MetricError: If there is no response, or not one prompt each.
    """
    if len(prompts) != len(responses):
        raise MetricError(f"echo_share needs pairs: {len(prompts)} prompts, {len(responses)} texts")
    flags = [echoes(prompt, text) for prompt, text in zip(prompts, responses, strict=True)]
    return share(flags, metric="echo_share")


def _last_turn(prompt: str) -> str:
    """Return the words of the last turn that has any; of a text without role tags, all."""
    spoken = [turn.text for turn in parse_turns(prompt) if turn.text]
    return spoken[-1] if spoken else prompt


def _plain(text: str) -> str:
    """The words in lower case, a blank before and after each: (number of blanks) - 1 words."""
    return " ".join(["", *_LETTERS.findall(text.lower()), ""])
