"""Pairs of prompt and response as a classifier reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alignstudy import dialogue
from alignstudy.errors import InputError
from alignstudy.judges.base import (
    PROMPT_TRIMMED,
    REPLACED_CHARACTERS,
    RESPONSE_TRIMMED,
    SPECIAL_TOKEN_TEXT,
)
from alignstudy.loading import context_length, well_formed

if TYPE_CHECKING:
    from transformers import BatchEncoding, PretrainedConfig, PreTrainedTokenizerBase

_ENDLESS = 10**6
"""A tokenizer whose files name no length says 10**30."""


@dataclass(frozen=True)
class EncodedPair:
    """A pair as tokens.

    Attributes:
        inputs: What the model is called with, one row, no padding.
        flags: What isn't as it was written; see `JudgeScore`.
    """

    inputs: dict[str, list[int]]
    flags: tuple[str, ...]


class PairEncoder:
    """Encodes pairs; what doesn't fit is cut by rule and flagged, never in silence.

    Args:
        tokenizer: The judge's.
        config: The judge's.
        truncation: "turns" or "paper"; see `SeqClsSettings`.
        max_length: Most tokens; None: what tokenizer and model say.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: PretrainedConfig,
        *,
        truncation: Literal["turns", "paper"],
        max_length: int | None,
    ) -> None:
        self._tokenizer, self._truncation = tokenizer, truncation
        self.max_length = _max_length(tokenizer, config, truncation, max_length)
        self._special_texts = tuple(token for token in tokenizer.all_special_tokens if token)

    def encode(self, prompt: str, response: str) -> EncodedPair:
        """Encode one pair."""
        flags = []
        if self._holds_special_text(prompt) or self._holds_special_text(response):
            flags.append(SPECIAL_TOKEN_TEXT)
        sound = well_formed(prompt), well_formed(response)
        if sound != (prompt, response):
            flags.append(REPLACED_CHARACTERS)
        cut = self._as_published if self._truncation == "paper" else self._by_turns
        encoding, trimmed = cut(*sound)
        inputs = {name: list(encoding[name]) for name in encoding}
        return EncodedPair(inputs, (*flags, *trimmed))

    def show(self, pair: EncodedPair) -> str:
        """Give what the model reads as text, special tokens included."""
        return str(
            self._tokenizer.decode(pair.inputs["input_ids"], clean_up_tokenization_spaces=False)
        )

    def collate(self, pairs: Sequence[EncodedPair]) -> BatchEncoding:
        """Pad pairs to one batch, on the right."""
        if len(pairs) == 1:
            rows = {name: [row] for name, row in pairs[0].inputs.items()}
            return self._tokenizer.pad(rows, padding=False, return_tensors="pt")
        columns = {name: [pair.inputs[name] for pair in pairs] for name in pairs[0].inputs}
        return self._tokenizer.pad(columns, padding_side="right", return_tensors="pt")

    def _as_published(self, prompt: str, response: str) -> tuple[BatchEncoding, list[str]]:
        """Encode as the published code did: `tokenizer(prompt, response, truncation=True)`."""
        limit = self.max_length
        encoding = self._tokenizer(prompt, response, truncation=limit is not None, max_length=limit)
        whole = self._tokenizer(prompt, response, verbose=False)
        sides = (PROMPT_TRIMMED, RESPONSE_TRIMMED)
        kept, had = (_side_lengths(each) for each in (encoding, whole))
        return encoding, [flag for flag, k, h in zip(sides, kept, had, strict=True) if k < h]

    def _by_turns(self, prompt: str, response: str) -> tuple[BatchEncoding, list[str]]:
        """Encode the whole response, with as much of the prompt's end as fits."""
        prompt, response = self._plain(prompt), self._plain(response)
        rest: str | None = prompt
        while rest is not None:
            encoding = self._pair(rest, response)
            if self._fits(encoding):
                return encoding, [PROMPT_TRIMMED] if rest is not prompt else []
            last, rest = rest, dialogue.drop_oldest_turns(rest)
        alone = self._pair("", response)
        if self._fits(alone):
            # The tokenizer refuses to cut a side to nothing.
            full = self.max_length == len(alone["input_ids"])
            kept = alone if full else self._pair(last, response, cut="only_first")
            return kept, [PROMPT_TRIMMED]
        flags = [PROMPT_TRIMMED, RESPONSE_TRIMMED] if prompt else [RESPONSE_TRIMMED]
        return self._pair("", response, cut="only_second"), flags

    def _fits(self, encoding: BatchEncoding) -> bool:
        return self.max_length is None or len(encoding["input_ids"]) <= self.max_length

    def _pair(
        self, prompt: str, response: str, *, cut: Literal["only_first", "only_second"] | None = None
    ) -> BatchEncoding:
        """Encode a pair as plain text; cut the prompt's beginning or the response's end."""
        self._tokenizer.truncation_side = "left" if cut == "only_first" else "right"
        return self._tokenizer(
            prompt, response, truncation=cut or False, verbose=False, split_special_tokens=True,
            max_length=self.max_length if cut else None,
        )  # fmt: skip

    def _holds_special_text(self, text: str) -> bool:
        return any(token in text for token in self._special_texts)

    def _plain(self, text: str) -> str:
        """Make a text that can't be taken for special tokens.

        Most tokenizers split such text if asked to; where the vocabulary itself holds it (as
        sentencepiece models do), a space after its first character breaks it up.
        """
        if not self._holds_special_text(text):
            return text
        ids = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        if set(self._tokenizer.all_special_ids).isdisjoint(ids):
            return text
        for token in self._special_texts:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def _max_length(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, truncation: str, asked: int | None
) -> int | None:
    """Find the most tokens that a judge reads; None: no end (only with relative positions)."""
    told = tokenizer.model_max_length if tokenizer.model_max_length < _ENDLESS else None
    positions = context_length(config)
    # DeBERTa-v2 and v3 may have relative positions only: longer texts are read, if not learnt.
    endless = getattr(config, "position_biased_input", True) is False
    if not endless and asked is not None and asked > positions:
        raise InputError(
            f"max_length {asked} is more than the judge's {positions} positions",
            mend=f"set at most {positions}, or leave max_length out",
        )
    if asked is not None:
        return asked
    if truncation == "paper" and endless:
        return told
    return positions if told is None else min(told, positions)


def _side_lengths(encoding: BatchEncoding) -> tuple[int, int]:
    """Count the tokens of prompt and response."""
    sides: list[Any] = encoding.sequence_ids(0)
    return sides.count(0), sides.count(1)
