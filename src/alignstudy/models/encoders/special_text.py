"""Words in a text that a tokenizer would take for its own special tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEMBERED = 4096

_MARKUP = re.compile(r"<.+>|\[.+\]|\{.+\}", re.DOTALL)
"""Added tokens that are no special ones but look like them: "<think>", "<tool_call>"."""


class SpecialText:
    """Finds such words and breaks them up, so that a response can't write structure.

    Args:
        tokenizer: The judge's.
        split: Whether texts are tokenized with `split_special_tokens`, which helps unless the
            vocabulary itself holds the words (as sentencepiece models' do).
        also: Further words that are structure to the judge: its chat template's own.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, split: bool, also: Iterable[str] = ()
    ) -> None:
        self._tokenizer, self._split = tokenizer, split
        # Every model answers the same prompts: each is looked at once.
        self.slips = lru_cache(_REMEMBERED)(self._slips)
        added = {
            str(token): number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special or _MARKUP.fullmatch(str(token))
        }
        named = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        found = {text: number for text, number in (named | added).items() if text.strip()}
        # The longest first: one that is part of another must not break it up into itself.
        self.texts = tuple(sorted({*found, *also}, key=lambda text: (-len(text), text)))
        # Any unknown sign is read as the unknown token: that is no structure.
        self._ids = frozenset(found.values()) - {tokenizer.unk_token_id}

    def holds(self, text: str) -> bool:
        """Return whether a text holds such words, or is read as if it did."""
        return any(token in text for token in self.texts) or self.slips(text)

    def plain(self, text: str) -> str:
        """Make a text safe: special words that would be read as such get a space within.

        What a tokenizer only sees after normalising (full-width brackets) is normalised first.
        """
        if self._split and not self.slips(text):
            return text
        text = self._spaced(text)
        return self._spaced(unicodedata.normalize("NFKC", text)) if self.slips(text) else text

    def _slips(self, text: str) -> bool:
        """Return whether a text's own tokens hold a special one."""
        ids = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=self._split, verbose=False
        )["input_ids"]
        return not self._ids.isdisjoint(ids)

    def _spaced(self, text: str) -> str:
        for token in self.texts:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text
