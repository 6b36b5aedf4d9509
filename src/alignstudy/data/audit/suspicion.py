"""What makes a row of preference data suspicious, as far as the row itself tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from alignstudy.data.formats.hh import CONTEXTS_DIFFER, IDENTICAL
from alignstudy.dialogue import CUE, has_role_tag, parse_turns
from alignstudy.records import Pair

LOPSIDED_RATIO = 10
LOPSIDED_WORDS = 30


class Kind(StrEnum):
    """Why a row is suspicious; the first is the worst."""

    CONTRADICTION = "contradicts an earlier row: chosen and rejected are swapped"
    IDENTICAL = "chosen and rejected are the same"
    CONTEXTS_DIFFER = "chosen and rejected follow different dialogues"
    NOT_ASSISTANT = "the last turn is not the assistant's"
    EMPTY_RESPONSE = "a response is empty"
    UNUSABLE = "can't be used"
    TAG_IN_RESPONSE = "a role tag begins a line inside a response"
    ODD_TURNS = "turns of the prompt don't alternate"
    EMPTY_TURN = "a turn of the prompt is empty"
    ECHO = "the chosen response repeats the last human turn"
    ONE_WORD_CHOSEN = "the chosen response is a single word"
    DUPLICATE = "same as an earlier row"
    LOPSIDED = "one response is at least ten times as long as the other"
    ONE_WORD_REJECTED = "the rejected response is a single word"


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A row to look at.

    Attributes:
        file: Path inside the source.
        line: From 1; for Parquet the row number.
        detail: What exactly; "" where the kind says it all.
    """

    kind: Kind
    file: str
    line: int
    detail: str = ""

    @property
    def reason(self) -> str:
        """Kind and detail in words."""
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value


_NOT_ASSISTANT = ("has no Assistant turn", "ends in a Human turn", "is not the assistant's")


def kind_of_reason(reason: str) -> Kind:
    """Name the kind of a row that was quarantined for a reason."""
    if reason == IDENTICAL:
        return Kind.IDENTICAL
    if reason == CONTEXTS_DIFFER:
        return Kind.CONTEXTS_DIFFER
    if reason.endswith(_NOT_ASSISTANT) or any(f"{end} of" in reason for end in _NOT_ASSISTANT):
        return Kind.NOT_ASSISTANT
    if reason.endswith("response is empty"):
        return Kind.EMPTY_RESPONSE
    return Kind.TAG_IN_RESPONSE if reason.startswith("a role tag") else Kind.UNUSABLE


def suspicions_of(pair: Pair) -> Iterator[tuple[Kind, str]]:
    """Return what is suspicious about a usable pair: kind and detail."""
    yield from _of_prompt(pair.prompt)
    responses = {"chosen": pair.chosen, "rejected": pair.rejected or ""}
    for name, response in responses.items():
        if has_role_tag(response):
            yield Kind.TAG_IN_RESPONSE, name
    chosen, rejected = (response.split() for response in responses.values())
    last = parse_turns(pair.prompt.removesuffix(CUE))[-1:]
    if last and last[0].text.split() == chosen:
        yield Kind.ECHO, ""
    if len(chosen) == 1:
        yield Kind.ONE_WORD_CHOSEN, ""
    if len(rejected) == 1:
        yield Kind.ONE_WORD_REJECTED, ""
    low, high = sorted((len(chosen), len(rejected)))
    is_lopsided = high >= LOPSIDED_RATIO * low and high - low >= LOPSIDED_WORDS
    if pair.rejected is not None and is_lopsided:
        yield Kind.LOPSIDED, f"{len(chosen)} words chosen, {len(rejected)} rejected"


def _of_prompt(prompt: str) -> Iterator[tuple[Kind, str]]:
    turns = parse_turns(prompt.removesuffix(CUE))
    expected = ("human", "assistant")
    if any(turn.role != expected[at % 2] for at, turn in enumerate(turns)) or len(turns) % 2 == 0:
        yield Kind.ODD_TURNS, " ".join(turn.role for turn in turns[:8])
    if any(not turn.text for turn in turns):
        yield Kind.EMPTY_TURN, ""
