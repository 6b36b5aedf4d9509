"""Hygiene: how well-formed responses are; what repeats in them is counted in `repeats`."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from unicodedata import category

from alignstudy.dialogue import has_role_tag, parse_turns
from alignstudy.errors import MetricError
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.repeats import share
from alignstudy.records import StopReason

FEWEST_WORDS = 4
"""A turn of fewer words ("Thank you.") may well come back in an answer."""

FEWEST_COPIED = 8
"""A response of so many words that lies wholly in the turn is an echo too: the cap cut it."""

LEVEL = 9
"""Of zlib."""

_FILLERS = "\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0"
"""Signs that show nothing, though Unicode doesn't count them among blanks or controls."""

_LETTERS = re.compile(r"\w+")
_TAGS = re.compile(r"^\s*(?:(?:Human|Assistant):\s*)+")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: it is empty, or blanks, controls and fillers alone."""
    return all(
        letter.isspace() or letter in _FILLERS or category(letter) in ("Cf", "Cc")
        for letter in text
    )


def empty_share(responses: Sequence[str]) -> float:
    """Share of responses in which nothing can be seen, in percent."""
    return share([is_blank(text) for text in responses])


def cap_share(stop_reasons: Sequence[str]) -> float:
    """Share of responses that ended at the limit on new tokens, in percent.

    Args:
        stop_reasons: As generation recorded them, by token position; never guessed from text.
    """
    return share([reason == StopReason.CAP for reason in stop_reasons])


def runs_on(response: str) -> bool:
    """Whether a response writes a further role tag (`Human:`, `Assistant:`).

    One `Assistant:` at the very start is not counted: where the prompt ends without the cue, as in
    the published study, a model has to write it.
    """
    return has_role_tag(response.lstrip().removeprefix("Assistant:"))


def role_tag_share(responses: Sequence[str]) -> float:
    """Share of responses that write a further role tag, in percent.

    Args:
        responses: What was generated, before the protocol's cuts.
    """
    return share([runs_on(text) for text in responses])


def mean_words(responses: Sequence[str]) -> float:
    """Mean length of responses in words (parts between blanks).

    Raises:
        MetricError: If there is no response.
    """
    if not responses:
        raise MetricError("a mean length is not defined without responses")
    return sum(len(text.split()) for text in responses) / len(responses)


def compression_ratio(response: str) -> float | None:
    """Compressed over plain bytes of a text in UTF-8, by zlib.

    Returns:
        Above 0; above 1 for very short texts, about 0.6 for 50 words of English, below 0.3 for a
        loop; None for an empty text.
    """
    plain = response.encode("utf-8", "surrogatepass")
    return len(zlib.compress(plain, LEVEL)) / len(plain) if plain else None


def mean_compression(responses: Sequence[str]) -> float | None:
    """Mean of compressed over plain bytes of the responses with text; None where none has any."""
    ratios = [ratio for text in responses if (ratio := compression_ratio(text.strip())) is not None]
    return sum(ratios) / len(ratios) if ratios else None


def echoes(prompt: str, response: str) -> bool:
    """Whether a response repeats the prompt's last turn, word by word.

    Either the whole turn stands in the response, or the response stands in the turn. Case,
    punctuation and role tags at the response's beginning don't matter.
    """
    # The last turn that has any words; of a text without role tags, all.
    spoken = [turn.text for turn in parse_turns(prompt) if turn.text] or [prompt]
    turn = _plain(spoken[-1])
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
    return share(flags)


def _plain(text: str) -> str:
    """Return the words in lower case, a blank before and after each: one more blank than words."""
    return " ".join(["", *_LETTERS.findall(text.lower()), ""])


EMPTY = Metric(kind="empty", title="empty responses", of=empty_share)
CAP = Metric(kind="cap", title="responses cut at the limit", of=cap_share)
ROLE_TAG = Metric(kind="role_tag", title="responses that run on", of=role_tag_share)
ECHO = Metric(kind="echo", title="echoes of the prompt", of=echo_share)
MEAN_WORDS = Metric(kind="mean_words", title="mean length", unit="words", of=mean_words)
COMPRESSION = Metric(
    kind="compression", title="mean compression", unit="ratio", digits=2, of=mean_compression
)
