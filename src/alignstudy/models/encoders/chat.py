"""Whole dialogues as a classifier reads them: by its chat template, or as one text with tags."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from alignstudy import dialogue
from alignstudy.dialogue import Turn
from alignstudy.errors import InputError
from alignstudy.models.encoders.encoding import (
    PROMPT_TRIMMED,
    RESPONSE_TRIMMED,
    SPECIAL_TOKEN_TEXT,
    Encoded,
    Encoder,
)
from alignstudy.models.encoders.renderings import prompt_turns, response_words, shorter
from alignstudy.models.encoders.special_text import SpecialText
from alignstudy.models.templates import FIXED_DATE, probe_template, write_dialogues

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKER = re.compile(r"<\|?/?\w+\|?>|\[/?[A-Z_]+\]")
"""Marks of structure that a template writes as plain words: "[/INST]", "<|user|>"."""


class _UnfitText(ValueError):
    """A dialogue that can't be written down for the judge; the message gives the reason."""


class TextEncoder(Encoder):
    """Encodes a dialogue as one text with role tags, the response at its end.

    Too long a dialogue loses its oldest turns, whole; then the first words of its last human turn;
    the response only what doesn't fit by itself, from its end.

    Args:
        tokenizer: The judge's.
        max_length: Most tokens; None: no end.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> None:
        super().__init__(tokenizer, max_length)
        # Tags and words are tokenized together: splitting would split the template's own too.
        self._special = SpecialText(tokenizer, split=False)

    def _encode(self, prompt: str, response: str) -> Encoded:
        asked, said = prompt_turns(prompt), response_words(response)
        texts = [*(turn.text for turn in asked), said]
        flags = [SPECIAL_TOKEN_TEXT] if any(map(self._special.holds, texts)) else []
        *plain, words = map(self._special.plain, texts)
        turns = tuple(Turn(turn.role, text) for turn, text in zip(asked, plain, strict=True))
        try:
            if any(map(self._special.slips, (*plain, words))):
                raise _UnfitText("a text can't be distinguished from special tokens")
            found = self._by_turns(turns, words)
        except _UnfitText as fault:
            return Encoded({}, tuple(flags), str(fault))
        return Encoded(found.inputs, (*flags, *found.flags))

    def _by_turns(self, turns: tuple[Turn, ...], words: str) -> Encoded:
        """Encode the whole response, with as much of the dialogue's end as fits."""
        for kept in shorter(turns):
            inputs = self._tokens(kept, words)
            if self._fits(inputs):
                return Encoded(inputs, () if kept is turns else (PROMPT_TRIMMED,))
        last, rest = kept[0], kept[1:]
        if self._fits(self._tokens((Turn("human", ""), *rest), words)):
            end = _longest(
                len(last.text),
                lambda size: self._fits(self._tokens((_tail(last, size), *rest), words)),
            )
            return Encoded(self._tokens((_tail(last, end), *rest), words), (PROMPT_TRIMMED,))
        # The response is too long by itself: as much of its beginning as fits.
        nothing = (Turn("human", ""),)
        if not self._fits(self._tokens(nothing, "")):
            raise InputError(
                f"max_length {self.max_length} has no room for the dialogue's own tags",
                hint="set a larger max_length, or leave it out",
            )
        size = _longest(
            len(words), lambda size: self._fits(self._tokens(nothing, words[:size].rstrip()))
        )
        flags = (PROMPT_TRIMMED, RESPONSE_TRIMMED)
        return Encoded(self._tokens(nothing, words[:size].rstrip()), flags)

    def _tokens(self, turns: tuple[Turn, ...], words: str) -> dict[str, list[int]]:
        """Encode turns and response; a beginning that text and tokenizer both write stands once."""
        if turns[-1].role == "human":
            turns = (*turns, Turn("assistant", words))
        else:  # a prompt that ends within an assistant turn is continued
            begun = "\n\n".join(part for part in (turns[-1].text, words) if part)
            turns = (*turns[:-1], Turn("assistant", begun))
        encoding = self._tokenizer(self._write(turns), verbose=False)
        begin = self._tokenizer.bos_token_id
        ids = encoding["input_ids"]
        twice = begin is not None and list(ids[:2]) == [begin, begin]
        return {name: list(encoding[name])[1 if twice else 0 :] for name in encoding}

    def _write(self, turns: tuple[Turn, ...]) -> str:
        """Write turns as the text that is tokenized."""
        return dialogue.render(turns).lstrip("\n")


class ChatEncoder(TextEncoder):
    """Encodes a dialogue by a chat template, the response its last turn.

    Args:
        tokenizer: The judge's.
        max_length: Most tokens; None: no end.
        template: Jinja text; None: the tokenizer's own.

    Raises:
        InputError: If the tokenizer has no chat template, and none is given.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None,
        template: str | None = None,
    ) -> None:
        super().__init__(tokenizer, max_length)
        found = template or tokenizer.chat_template  # of several the default is used
        if not found or not (isinstance(found, str) or "default" in found):
            raise InputError(
                "the judge's tokenizer has no chat template",
                why="`input: chat` shows dialogues as the template writes them",
                hint="use `input: pair` or `input: text`, as the model's card says, or add the"
                " template (chat_template.jinja) to its folder",
            )
        template = template or str(tokenizer.get_chat_template())
        self._template = FIXED_DATE + template if "strftime_now" in template else template
        probe_template(tokenizer, self._template)
        self._special = SpecialText(tokenizer, split=False, also=_MARKER.findall(template))

    def _write(self, turns: tuple[Turn, ...]) -> str:
        texts, refusal = write_dialogues(self._tokenizer, self._template, [turns])
        if refusal is not None:
            raise _UnfitText(f"the chat template refuses the dialogue: {refusal.why}")
        text = texts[0]
        if turns[-1].text.strip() not in text:
            raise _UnfitText(f"the chat template alters the response: {turns[-1].text}")
        return text


def _tail(turn: Turn, size: int) -> Turn:
    """Keep the last so many characters of a turn."""
    return Turn(turn.role, turn.text[len(turn.text) - size :].lstrip())


def _longest(most: int, fits: Callable[[int], bool]) -> int:
    """Find the largest size in [0, most] that fits, by halving; size 0 is known to."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
