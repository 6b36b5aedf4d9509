"""Pairs of prompt and response as a sentence-pair classifier reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from alignstudy import dialogue
from alignstudy.models.encoders.encoding import (
    PROMPT_TRIMMED,
    RESPONSE_TRIMMED,
    SPECIAL_TOKEN_TEXT,
    Encoded,
    Encoder,
)
from alignstudy.models.encoders.renderings import Rendering, render
from alignstudy.models.encoders.special_text import SpecialText

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase


class PairEncoder(Encoder):
    """Encodes pairs; what doesn't fit is cut by rule and flagged, never in silence.

    Args:
        tokenizer: The judge's.
        max_length: Most tokens; None: no end.
        truncation: "turns": too long a prompt loses its oldest turns, then its first tokens;
            "paper": the tokenizer cuts, as `truncation=True` has it.
        rendering: How a dialogue becomes two texts; see `renderings`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None,
        *,
        truncation: Literal["turns", "paper"] = "turns",
        rendering: Rendering = "paper",
    ) -> None:
        super().__init__(tokenizer, max_length)
        self._truncation, self._rendering = truncation, rendering
        self._special = SpecialText(tokenizer, split=True)

    def _encode(self, prompt: str, response: str) -> Encoded:
        if self._truncation == "paper":
            # As the published code did: `tokenizer(prompt, response, truncation=True)`.
            pair, limit = render(prompt, response, self._rendering), self.max_length
            encoding = self._tokenizer(*pair, truncation=limit is not None, max_length=limit)
            kept: list[Any] = encoding.sequence_ids(0)
            had: list[Any] = self._tokenizer(*pair, verbose=False).sequence_ids(0)
            sides = ((0, PROMPT_TRIMMED), (1, RESPONSE_TRIMMED))
            trimmed = [flag for side, flag in sides if kept.count(side) < had.count(side)]
        else:
            encoding, trimmed = self._by_turns(prompt, response)
        if any(map(self._special.holds, (prompt, response))):
            trimmed.append(SPECIAL_TOKEN_TEXT)
        return Encoded({name: list(encoding[name]) for name in encoding}, tuple(trimmed))

    def _by_turns(self, prompt: str, response: str) -> tuple[BatchEncoding, list[str]]:
        """Encode the whole response, with as much of the prompt's end as fits."""
        rest: str | None = prompt
        while rest is not None:
            question, answer = map(self._special.plain, render(rest, response, self._rendering))
            encoding = self._pair(question, answer)
            if self._fits(encoding):
                return encoding, [PROMPT_TRIMMED] if rest != prompt else []
            rest = dialogue.drop_oldest_turns(rest)
        alone = self._pair("", answer)
        if self._fits(alone):
            # The tokenizer refuses to cut a side to nothing.
            full = self.max_length == len(alone["input_ids"])
            kept = alone if full else self._pair(question, answer, cut="only_first")
            return kept, [PROMPT_TRIMMED]
        flags = [PROMPT_TRIMMED, RESPONSE_TRIMMED] if prompt else [RESPONSE_TRIMMED]
        return self._pair("", answer, cut="only_second"), flags

    def _pair(
        self, prompt: str, response: str, *, cut: Literal["only_first", "only_second"] | None = None
    ) -> BatchEncoding:
        """Encode a pair as plain text; cut the prompt's beginning or the response's end."""
        self._tokenizer.truncation_side = "left" if cut == "only_first" else "right"
        return self._tokenizer(
            prompt,
            response,
            truncation=cut or False,
            verbose=False,
            split_special_tokens=True,
            max_length=self.max_length if cut else None,
        )
