"""Conversational rows: lists of {role, content}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignstudy.data.formats.hh import CONTEXTS_DIFFER, GOLD_ELSEWHERE, check_responses
from alignstudy.data.formats.pairs import response_text
from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow
from alignstudy.data.formats.turns import ask, list_of, turns_of
from alignstudy.dialogue import Turn, render
from alignstudy.records import Pair

SYSTEM_JOINED = "further system turns joined to the first"


class MessagesFormat:
    """Conversations: `messages`, or `chosen` and `rejected` as lists of {role, content}."""

    fields: tuple[str, ...] = ("messages", "or chosen, rejected (and prompt) as lists")

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Whether any of the fields holds a list of messages."""
        names = ("prompt", "chosen", "rejected")
        return any(isinstance(fields.get(name), list) for name in names) or (
            "messages" in fields and "chosen" not in fields
        )

    def parse(self, row: RawRow) -> Parsed:
        """Make a pair of two conversations, or a demonstration of one.

        Raises:
            UnusableRow: If a list is malformed, a role unknown, or the contexts differ.
        """
        gold = None
        if "chosen" not in row.fields and "rejected" not in row.fields:
            turns, joined = turns_of(row.fields.get("messages"), "messages")
            context, chosen = _split(turns, "messages")
            rejected = None
        else:
            context, chosen, joined = _half(row, "chosen")
            other, rejected, _ = _half(row, "rejected")
            if context != other:
                raise UnusableRow(CONTEXTS_DIFFER)
            if "gold" in row.fields:
                other, gold, _ = _half(row, "gold")
                if context != other:
                    raise UnusableRow(GOLD_ELSEWHERE)
        check_responses(chosen, rejected)
        pair = Pair(
            id=row.id,
            prompt=render(context, cue=True),
            chosen=chosen,
            rejected=rejected,
            subset=row.subset,
            gold=gold or None,
        )
        return Parsed(record=pair, notes={SYSTEM_JOINED: joined} if joined else {})


def _half(row: RawRow, name: str) -> tuple[Sequence[Turn], str, int]:
    """Context, response and number of joined system turns of one of the two conversations."""
    messages = list_of(row.fields.get(name), name)
    prompt = row.fields.get("prompt")
    if prompt is not None:
        start = list_of(ask(prompt), "prompt")
        repeats_prompt = messages[: len(start)] == start
        messages = messages if repeats_prompt else [*start, *messages]
        if not repeats_prompt and len(messages) - len(start) != 1:
            raise UnusableRow(f"{name} holds more than the response, and doesn't begin as prompt")
    turns, joined = turns_of(messages, name)
    return *_split(turns, name), joined


def _split(turns: Sequence[Turn], where: str) -> tuple[Sequence[Turn], str]:
    """Split turns into the context and the words of the last, which must be the assistant's."""
    if not turns or turns[-1].role != "assistant":
        raise UnusableRow(f"the last message of {where} is not the assistant's")
    context = turns[:-1]
    asked = [turn for turn in context if turn.role != "system"]
    if not asked or asked[0].role != "human":
        raise UnusableRow(f"{where} doesn't begin with a human turn")
    if context[-1].role != "human":
        raise UnusableRow(f"{where} has no human turn before the response")
    if any(not turn.text for turn in context):
        raise UnusableRow(f"{where} has an empty turn before the response")
    return context, response_text(turns[-1].text, where)
