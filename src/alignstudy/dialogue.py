r"""Dialogues in notation: turns as text by HH-RLHF's role tags, and the one place that knows them.

A dialogue is `\n\nHuman: ...\n\nAssistant: ...`, turns alternating; a system turn may come first.
The *cue* is the text after which the assistant writes. Records hold prompts in this notation, from
which turns are read back; what a model sees of them is its template's to say (`models.rendering`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "human", "assistant"]

SYSTEM_TAG = "\n\nSystem:"
"""Only where a dialogue begins: elsewhere it is words."""
HUMAN_TAG = "\n\nHuman:"
ASSISTANT_TAG = "\n\nAssistant:"
CUE = ASSISTANT_TAG
STOP_STRINGS = (HUMAN_TAG, ASSISTANT_TAG)

_TAG = re.compile(r"\n\n(Human|Assistant):|\A\n\n(System):")
_ROLES: dict[str, Role] = {"Human": "human", "Assistant": "assistant", "System": "system"}
_LOOSE_TAG = re.compile(r"(?:^|\n)[ \t]*(Human|Assistant):")


@dataclass(frozen=True)
class Turn:
    """One turn: who speaks, and the words, stripped."""

    role: Role
    text: str


def parse_turns(text: str) -> tuple[Turn, ...]:
    """Parse a dialogue at its role tags; words before the first tag are not a turn.

    A first tag at the very start may lack its blank line (a text that was stripped).
    """
    if text.startswith(("Human:", "Assistant:")):
        text = "\n\n" + text
    marks = list(_TAG.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return tuple(
        Turn(_ROLES[mark[1] or mark[2]], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    )


def render(turns: Sequence[Turn], *, cue: bool = False) -> str:
    """Write turns as text; with `cue`, end where the assistant is to write."""
    tags = {"human": HUMAN_TAG, "assistant": ASSISTANT_TAG, "system": SYSTEM_TAG}
    text = "".join(f"{tags[turn.role]} {turn.text}" for turn in turns)
    return text + (CUE if cue else "")


def split_at_last_cue(text: str) -> tuple[str, str] | None:
    """Split a dialogue into (prompt with cue, response); None if it has no assistant turn.

    The two halves joined are the text, character for character.
    """
    at = text.rfind(ASSISTANT_TAG)
    if at < 0:
        return None
    end = at + len(ASSISTANT_TAG)
    return text[:end], text[end:]


def cut_at_role_tag(text: str) -> str:
    """Cut a response before its first further role tag (at a line's start, loosely written)."""
    mark = _LOOSE_TAG.search(text)
    return text if mark is None else text[: mark.start()]


def has_role_tag(text: str) -> bool:
    """Return whether a text holds a role tag at the start of a line."""
    return _LOOSE_TAG.search(text) is not None


def drop_oldest_turns(prompt: str) -> str | None:
    """Drop the oldest human turn with its answer; None if only the last human turn is left.

    A system turn stays.
    """
    whole = "\n\n" + prompt.lstrip("\n")
    marks = [mark for mark in _TAG.finditer(whole) if mark[1] == "Human"]
    if len(marks) < 2:
        return None
    before = whole[: marks[0].start()] if whole.startswith(SYSTEM_TAG) else ""
    return before + whole[marks[1].start() :]


def without_system(prompt: str) -> str:
    """Write a system turn's words at the beginning of the first human turn, a blank line between.

    For templates that know two roles. Other prompts are as they were, character for character.
    """
    if not prompt.startswith(SYSTEM_TAG):
        return prompt
    first = prompt.find(HUMAN_TAG)
    system, rest = prompt[len(SYSTEM_TAG) : first].strip(), prompt[first + len(HUMAN_TAG) :]
    return f"{HUMAN_TAG} {system}\n\n{rest.lstrip()}"
