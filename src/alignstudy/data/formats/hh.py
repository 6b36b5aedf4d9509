"""HH-RLHF rows: two whole dialogues that differ in the last assistant turn.

The pair is split at the last assistant tag, never at the common prefix of the two texts: that
would put the first words of many responses into the prompt. Prompt and response joined are the
text, character for character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow, text_of
from alignstudy.dialogue import HUMAN_TAG, parse_turns, split_at_last_cue
from alignstudy.records import Pair

CONTEXTS_DIFFER = "chosen and rejected differ before the last Assistant turn"
IDENTICAL = "chosen and rejected are identical"
EMPTY_CONTEXT = "context is empty: no human turn has words"


class HHFormat:
    """HH-RLHF: chosen and rejected are whole dialogues with Human: and Assistant: tags."""

    fields = ("chosen", "rejected")

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Whether chosen or rejected is text, without a prompt of its own."""
        halves = [fields[name] for name in self.fields if name in fields]
        has_list = any(isinstance(half, list) for half in halves)
        return bool(halves) and "prompt" not in fields and not has_list

    def parse(self, row: RawRow) -> Parsed:
        """Split both dialogues at the last assistant tag.

        Raises:
            UnusableRow: If they are malformed, or don't share their context.
        """
        chosen_prompt, chosen = _split(row, "chosen")
        rejected_prompt, rejected = _split(row, "rejected")
        if chosen_prompt != rejected_prompt:
            raise UnusableRow(CONTEXTS_DIFFER)
        if not any(turn.text for turn in parse_turns(chosen_prompt) if turn.role == "human"):
            raise UnusableRow(EMPTY_CONTEXT)
        check_responses(chosen, rejected)
        pair = Pair(
            id=row.id, prompt=chosen_prompt, chosen=chosen, rejected=rejected, subset=row.subset
        )
        return Parsed(record=pair)


def check_responses(chosen: str, rejected: str | None) -> None:
    """Check that both responses have words, and that they differ.

    Raises:
        UnusableRow: If not.
    """
    if not chosen.strip():
        raise UnusableRow("chosen response is empty")
    if rejected is not None and not rejected.strip():
        raise UnusableRow("rejected response is empty")
    if rejected is not None and chosen.strip() == rejected.strip():
        raise UnusableRow(IDENTICAL)


def _split(row: RawRow, name: str) -> tuple[str, str]:
    text = text_of(row, name)
    if not text.startswith((HUMAN_TAG, HUMAN_TAG.lstrip())):
        raise UnusableRow(f"{name} doesn't begin with a Human turn")
    halves = split_at_last_cue(text)
    if halves is None:
        raise UnusableRow(f"{name} has no Assistant turn")
    if HUMAN_TAG in halves[1]:
        raise UnusableRow(f"{name} ends in a Human turn")
    return halves
