"""HH-RLHF rows: two whole dialogues that differ in the last assistant turn.

The pair is split at the last assistant tag, never at the common prefix of the two texts: that
would put the first words of many responses into the prompt. Prompt and response joined are the
text, character for character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from alignstudy.data.formats.row import Parsed, RawRow, UnusableRow, text_of
from alignstudy.data.formats.turns import check_no_tag
from alignstudy.dialogue import HUMAN_TAG, parse_turns, split_at_last_cue
from alignstudy.records import Pair

CONTEXTS_DIFFER = "chosen and rejected differ before the last Assistant turn"
GOLD_ELSEWHERE = "the gold response answers another dialogue"
IDENTICAL = "chosen and rejected are identical"
PARTS = ("chosen", "rejected")
_CRLF_TAG = re.compile(r"\r\n(Human|Assistant):")
EMPTY_CONTEXT = "context is empty: no human turn has words"


class HHFormat:
    """HH-RLHF: chosen and rejected are whole dialogues with Human: and Assistant: tags."""

    fields: tuple[str, ...] = PARTS

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
            id=row.id,
            prompt=chosen_prompt,
            chosen=chosen,
            rejected=rejected,
            subset=row.subset,
            gold=_gold(row, chosen_prompt),
        )
        return Parsed(record=pair)


def _gold(row: RawRow, prompt: str) -> str | None:
    """Return a third response, given as a dialogue like the others or alone; None without words."""
    if "gold" not in row.fields:
        return None
    text = text_of(row, "gold")
    if not _begins(text):
        check_no_tag(text, "gold")
        return f" {text.strip()}" if words_of(text) else None
    asked, gold = _split(row, "gold")
    if asked != prompt:
        raise UnusableRow(GOLD_ELSEWHERE)
    return gold if words_of(gold) else None


def check_responses(chosen: str, rejected: str | None) -> None:
    """Check that both responses have words, and that they differ in more than Unicode's form.

    Raises:
        UnusableRow: If not.
    """
    if not words_of(chosen):
        raise UnusableRow("chosen response is empty")
    if rejected is not None and not words_of(rejected):
        raise UnusableRow("rejected response is empty")
    if rejected is not None and words_of(chosen) == words_of(rejected):
        raise UnusableRow(IDENTICAL)


def words_of(text: str) -> str:
    """Return what of a text can be seen, in one Unicode form (NFC), white space at ends left."""
    if text.isascii():
        return text.strip()
    seen = "".join(each for each in text if unicodedata.category(each) != "Cf")
    return unicodedata.normalize("NFC", seen).strip()


def _meant_prompt(row: RawRow) -> str:
    """Say how a prompt in a column of its own is named."""
    others = sorted(n for n, v in row.fields.items() if isinstance(v, str) and n not in PARTS)
    if not others:
        return "; give its prompt in a column of its own"
    columns = ", ".join(others[:4])
    return f"; if its prompt is in another column ({columns}), name it: data.columns.prompt"


def _begins(text: str) -> bool:
    """Whether a text begins as a dialogue does."""
    return text.startswith((HUMAN_TAG, HUMAN_TAG.lstrip()))


def _split(row: RawRow, name: str) -> tuple[str, str]:
    text = text_of(row, name)
    if not _begins(text):
        raise UnusableRow(f"{name} doesn't begin with a Human turn{_meant_prompt(row)}")
    if _CRLF_TAG.search(text):
        raise UnusableRow(f"{name} has role tags after CRLF line ends: write it with LF")
    halves = split_at_last_cue(text)
    if halves is None:
        raise UnusableRow(f"{name} has no Assistant turn")
    if HUMAN_TAG in halves[1]:
        raise UnusableRow(f"{name} ends in a Human turn")
    return halves
