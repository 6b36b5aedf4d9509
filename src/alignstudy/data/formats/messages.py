"""Conversational rows: lists of {role, content}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignstudy.data.formats.hh import CONTEXTS_DIFFER, check_responses
from alignstudy.data.formats.pairs import check_no_tag, response_text
from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow, checked_text
from alignstudy.dialogue import Role, Turn, render
from alignstudy.records import Pair

ROLES: dict[str, Role] = {"user": "human", "human": "human", "assistant": "assistant"}
SYSTEM_JOINED = "further system turns joined to the first"


class MessagesFormat:
    """Conversations: `messages`, or `chosen` and `rejected` as lists of {role, content}."""

    fields = ("messages", "or chosen, rejected (and prompt) as lists")

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
        if "chosen" not in row.fields and "rejected" not in row.fields:
            turns, joined = turns_of(row.fields.get("messages"), "messages")
            context, chosen = _split(turns, "messages")
            rejected = None
        else:
            context, chosen, joined = _half(row, "chosen")
            other, rejected, _ = _half(row, "rejected")
            if context != other:
                raise UnusableRow(CONTEXTS_DIFFER)
        check_responses(chosen, rejected)
        pair = Pair(
            id=row.id,
            prompt=render(context, cue=True),
            chosen=chosen,
            rejected=rejected,
            subset=row.subset,
        )
        return Parsed(record=pair, notes={SYSTEM_JOINED: joined} if joined else {})


def _half(row: RawRow, name: str) -> tuple[Sequence[Turn], str, int]:
    """Context, response and number of joined system turns of one of the two conversations."""
    messages = _list_of(row.fields.get(name), name)
    prompt = row.fields.get("prompt")
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if prompt is not None:
        start = _list_of(prompt, "prompt")
        repeats_prompt = messages[: len(start)] == start
        messages = messages if repeats_prompt else [*start, *messages]
        if not repeats_prompt and len(messages) - len(start) != 1:
            raise UnusableRow(f"{name} holds more than the response, and doesn't begin as prompt")
    turns, joined = turns_of(messages, name)
    return *_split(turns, name), joined


def _list_of(value: object, where: str) -> list[Any]:
    if value is None:
        raise UnusableRow(f"field '{where}' is missing or null")
    if not isinstance(value, list) or not value:
        raise UnusableRow(f"field '{where}' is not a list of messages")
    return value


def turns_of(messages: object, where: str) -> tuple[list[Turn], int]:
    """Return the turns of a list of messages, and how many system turns were joined to another."""
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(_list_of(messages, where), start=1):
        place = f"message {number} of {where}"
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise UnusableRow(f"{place} is not an object with role and content")
        role = message["role"]
        if not isinstance(role, str) or role not in {"system", *ROLES}:
            raise UnusableRow(f"{place} has the unknown role {str(role)[:40]!r}")
        text = checked_text(message["content"], f"content of {place}").strip()
        check_no_tag(text, place)
        if role != "system":
            turns.append(Turn(ROLES[role], text))
        elif text:
            system.append(text)
    if system and turns:
        turns.insert(0, Turn("system", "\n\n".join(system)))
    return turns, max(0, len(system) - 1)


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
