"""Lists of messages as turns."""

from __future__ import annotations

from typing import Any

from alignstudy.data.formats.row import UnusableRow, checked_text
from alignstudy.dialogue import CUE, HUMAN_TAG, Role, Turn, has_role_tag, parse_turns

ROLES: dict[str, Role] = {"user": "human", "human": "human", "assistant": "assistant"}
SYSTEM_ROLES = frozenset({"system", "developer"})


def ask(prompt: object) -> list[Any]:
    """Return a prompt as a list of messages: a text is one user turn, or a dialogue with tags."""
    if isinstance(prompt, list):
        return prompt
    if isinstance(prompt, str) and prompt.lstrip().startswith(HUMAN_TAG.strip()):
        turns = parse_turns(prompt.strip().removesuffix(CUE))
        return [{"role": turn.role, "content": turn.text} for turn in turns]
    return [{"role": "user", "content": prompt}]


def reply(answer: object) -> list[Any]:
    """Return a response as a list of messages."""
    return answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}]


def list_of(value: object, where: str) -> list[Any]:
    """Check that a value is a list of messages with something in it.

    Raises:
        UnusableRow: If it isn't.
    """
    if value is None:
        raise UnusableRow(f"field '{where}' is missing or null")
    if not isinstance(value, list) or not value:
        raise UnusableRow(f"field '{where}' is not a list of messages")
    return value


def turns_of(messages: object, where: str) -> tuple[list[Turn], int]:
    """Return the turns of a list of messages, and how many system turns were joined to another.

    Raises:
        UnusableRow: If a message is malformed, or its role unknown.
    """
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(list_of(messages, where), start=1):
        place = f"message {number} of {where}"
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise UnusableRow(f"{place} is not an object with role and content")
        role = message["role"]
        if not isinstance(role, str) or role not in {*SYSTEM_ROLES, *ROLES}:
            raise UnusableRow(f"{place} has the unknown role {str(role)[:40]!a}")
        text = checked_text(_joined(message["content"], place), f"content of {place}").strip()
        check_no_tag(text, place)
        if role not in SYSTEM_ROLES:
            turns.append(Turn(ROLES[role], text))
        elif text:
            system.append(text)
    if system and turns:
        turns.insert(0, Turn("system", "\n\n".join(system)))
    return turns, max(0, len(system) - 1)


def _joined(content: object, place: str) -> object:
    """Join a content that comes in parts of text; other contents are as they were."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    if not all(isinstance(part, str) for part in parts):
        raise UnusableRow(f"content of {place} holds more than text")
    return "".join(map(str, parts))


def check_no_tag(text: str, where: str) -> None:
    """Check that no line of a turn's words begins with a role tag.

    Raises:
        UnusableRow: If one does: the dialogue's turns would not be what the row means.
    """
    if has_role_tag(text):
        raise UnusableRow(f"a role tag (Human: or Assistant:) is hidden inside {where}")
