"""What all encoders of prompt and response share: flags, limits, batches."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from alignstudy.errors import InputError
from alignstudy.models.tokenizers import named_panics, well_formed
from alignstudy.runtime.device import context_length

if TYPE_CHECKING:
    from transformers import BatchEncoding, PretrainedConfig, PreTrainedTokenizerBase

PROMPT_TRIMMED = "prompt_trimmed"
RESPONSE_TRIMMED = "response_trimmed"
SPECIAL_TOKEN_TEXT = "special_token_text"
REPLACED_CHARACTERS = "replaced_characters"
FLAGS = (SPECIAL_TOKEN_TEXT, REPLACED_CHARACTERS, PROMPT_TRIMMED, RESPONSE_TRIMMED)
"""What a judge may not have seen as it was written: its beginning left out, its end left out, words
that its tokenizer would have taken for special tokens, broken Unicode."""

_REMEMBERED = 4096

_ENDLESS = 10**6
"""A tokenizer whose files name no length claims 10**30."""


@dataclass(frozen=True)
class Encoded:
    """Prompt and response as tokens.

    Attributes:
        inputs: What the model is called with, one row, no padding.
        flags: Which of `FLAGS` holds.
        fault: Why it can't be scored; empty otherwise.
    """

    inputs: dict[str, list[int]]
    flags: tuple[str, ...] = ()
    fault: str = ""

    @property
    def text(self) -> str:
        """All of it in one line of JSON: two that are equal are scored alike."""
        return json.dumps([self.inputs, self.flags, self.fault], sort_keys=True)


class Encoder(ABC):
    """Encodes prompts with responses; what doesn't fit is cut by rule and flagged.

    Args:
        tokenizer: The judge's.
        max_length: Most tokens; None: no end.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        # What is asked for its key first, and scored then, is encoded once.
        self._remembered = lru_cache(_REMEMBERED)(self._encode)

    def encode(self, prompt: str, response: str) -> Encoded:
        """Encode one pair."""
        sound = well_formed(prompt), well_formed(response)
        with named_panics():
            found = self._remembered(*sound)
        flags = {*found.flags, REPLACED_CHARACTERS} if sound != (prompt, response) else found.flags
        return Encoded(found.inputs, tuple(sorted(flags, key=FLAGS.index)), found.fault)

    @abstractmethod
    def _encode(self, prompt: str, response: str) -> Encoded:
        """Encode a pair of well-formed texts; flag what is cut."""

    def show(self, encoded: Encoded) -> str:
        """Return what the model reads as text, special tokens included."""
        return str(
            self._tokenizer.decode(encoded.inputs["input_ids"], clean_up_tokenization_spaces=False)
        )

    def collate(self, rows: Sequence[Encoded]) -> BatchEncoding:
        """Pad rows to one batch, on the right."""
        if len(rows) == 1:
            single = {name: [row] for name, row in rows[0].inputs.items()}
            return self._tokenizer.pad(single, padding=False, return_tensors="pt")
        columns = {name: [row.inputs[name] for row in rows] for name in rows[0].inputs}
        return self._tokenizer.pad(columns, padding_side="right", return_tensors="pt")

    def _fits(self, encoding: BatchEncoding | dict[str, list[int]]) -> bool:
        return self.max_length is None or len(encoding["input_ids"]) <= self.max_length


def most_tokens(
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    asked: int | None,
    *,
    as_published: bool = False,
) -> int | None:
    """Find the most tokens that a judge reads; None: no end (only with relative positions).

    Args:
        tokenizer: The judge's.
        config: The judge's.
        asked: What the study asks for.
        as_published: Whether a tokenizer without a length means that nothing is cut.

    Raises:
        InputError: If the study asks for more than the model has positions.
    """
    stated = tokenizer.model_max_length if tokenizer.model_max_length < _ENDLESS else None
    positions = context_length(config)
    # DeBERTa-v2 and v3 may have relative positions only: longer texts are read, if not learnt.
    endless = getattr(config, "position_biased_input", True) is False
    if not endless and asked is not None and asked > positions:
        raise InputError(
            f"max_length {asked} is more than the judge's {positions} positions",
            hint=f"set at most {positions}, or leave max_length out",
        )
    if asked is not None:
        return asked
    if as_published and endless:
        return stated
    return positions if stated is None else min(stated, positions)
