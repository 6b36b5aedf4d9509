"""Rows with a prompt and two responses as plain strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignstudy.data.formats.hh import check_responses
from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow, text_of
from alignstudy.data.formats.turns import check_no_tag
from alignstudy.dialogue import CUE, HUMAN_TAG, parse_turns
from alignstudy.records import Pair


class PairsFormat:
    """Plain pairs: prompt, chosen and rejected are strings; the prompt may hold HH role tags."""

    fields: tuple[str, ...] = ("prompt", "chosen", "rejected")

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Whether there is a prompt, and no list of messages."""
        lists = any(isinstance(fields.get(name), list) for name in self.fields)
        return "prompt" in fields and not lists

    def parse(self, row: RawRow) -> Parsed:
        """Bring the prompt into HH form, up to the cue; responses follow it after one space.

        Raises:
            UnusableRow: If a part is missing or empty, or a role tag is hidden inside a turn.
        """
        prompt = dialogue_prompt(text_of(row, "prompt"))
        chosen, rejected = (
            response_text(text_of(row, name), name) for name in ("chosen", "rejected")
        )
        check_responses(chosen, rejected)
        gold = response_text(text_of(row, "gold"), "gold") if "gold" in row.fields else ""
        pair = Pair(
            id=row.id,
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            subset=row.subset,
            gold=gold or None,
        )
        return Parsed(record=pair)


def dialogue_prompt(text: str) -> str:
    """Write a prompt as a dialogue that ends at the cue.

    Args:
        text: A dialogue with role tags (the final cue may be there or not), or the words of one
            human turn.

    Raises:
        UnusableRow: If it is empty, ends in an assistant turn, or hides a role tag in a turn.
    """
    body = text.strip()
    if not body:
        raise UnusableRow("prompt is empty")
    if not body.startswith(HUMAN_TAG.lstrip()):
        check_no_tag(body, "prompt")
        return f"{HUMAN_TAG} {body}{CUE}"
    body = ("\n\n" + body).removesuffix(CUE)
    turns = parse_turns(body)
    for turn in turns:
        check_no_tag(turn.text, f"a {turn.role} turn of the prompt")
    if turns[-1].role != "human":
        raise UnusableRow("prompt ends in an assistant turn")
    if not turns[-1].text:
        raise UnusableRow("prompt ends in an empty human turn")
    return body + CUE


def response_text(text: str, name: str) -> str:
    """Write a response as it follows the cue: after exactly one space; empty if it has no words.

    Raises:
        UnusableRow: If a role tag is hidden in it.
    """
    check_no_tag(text, name)
    return f" {text.strip()}" if text.strip() else ""
