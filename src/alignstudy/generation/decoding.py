"""Prompts to tokens, tokens to responses: what fits, how one is drawn, where a response ends.

The classes are called by transformers' `generate`; they look like its StoppingCriteria and
LogitsProcessor without deriving from them, so that this module needs no torch to be imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignstudy.records import StopReason

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class StopStrings:
    """Strings that end a response at the token that completes one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> None:
        self._tokenizer, self._strings = tokenizer, strings
        # A token holds at least a byte, so a string can't reach further back than its bytes.
        self._tail = max((len(text.encode()) for text in strings), default=0) + 1

    def complete(self, tokens: Sequence[int]) -> bool:
        """Return whether a response's tokens end in what completes a string."""
        text = decode(self._tokenizer, tokens[-self._tail :])
        return any(stop in text for stop in self._strings)


class StopAtStrings:
    """Ends each sequence of transformers' `generate` at the token that completes a stop string.

    Attributes:
        ended_at: Row -> number of generated tokens, the completing one included.
    """

    def __init__(self, strings: StopStrings, prompt_length: int) -> None:
        self._strings, self._prompt_length = strings, prompt_length
        self.ended_at: dict[int, int] = {}

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        """Return which rows of `input_ids` (rows, tokens) have ended."""
        import torch

        length = input_ids.shape[1] - self._prompt_length
        rows = input_ids[:, self._prompt_length :].tolist()
        for row, tokens in enumerate(rows):
            if row not in self.ended_at and self._strings.complete(tokens):
                self.ended_at[row] = length
        ended = [row in self.ended_at for row in range(len(rows))]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


class SeededNoise:
    """Turns taking the likeliest token into drawing one, row by row from a generator of its own.

    Adding standard Gumbel noise to logits and taking the largest draws from their softmax
    (Gumbel 1954; Maddison et al. 2014). A row's noise depends on its seed only, so a response
    doesn't depend on what else is in the batch.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators: dict[int, torch.Generator] = {}
        for row, seed in enumerate(seeds):
            self.seat(row, seed)

    def seat(self, row: int, seed: int) -> None:
        """Begin a row's noise."""
        import torch

        self._generators[row] = torch.Generator().manual_seed(seed)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which come into their order."""
        self._generators = {new: self._generators[old] for new, old in enumerate(rows)}

    def like(self, scores: torch.Tensor) -> torch.Tensor:
        """Draw the next noise, in the shape and precision of `scores` (rows, vocabulary)."""
        import torch

        uniform = torch.full(scores.shape, 0.5, dtype=torch.float64)
        for row, generator in self._generators.items():
            uniform[row].uniform_(generator=generator)
        gumbel = -torch.log(-torch.log(uniform.clamp_min_(torch.finfo(torch.float64).tiny)))
        return gumbel.to(device=scores.device, dtype=scores.dtype)


@dataclass(frozen=True)
class Ending:
    """The tokens of a response (no end-of-sequence token), and why it ended."""

    tokens: tuple[int, ...]
    reason: StopReason


def ending(generated: Sequence[int], *, eos: frozenset[int], stopped_at: int | None) -> Ending:
    """Find a response's end by token position.

    Args:
        generated: The tokens after the prompt, with whatever padding followed the end.
        eos: The end-of-sequence tokens.
        stopped_at: Number of tokens when a stop string was complete; None if none was.
    """
    at = next((i for i, token in enumerate(generated) if token in eos), None)
    if at is not None and (stopped_at is None or at < stopped_at):
        return Ending(tuple(generated[:at]), StopReason.EOS)
    if stopped_at is not None:
        return Ending(tuple(generated[:stopped_at]), StopReason.STOP_STRING)
    return Ending(tuple(generated), StopReason.CAP)


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Turn tokens into text: no special tokens, no space moved."""
    text = tokenizer.decode(
        list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text)


def cut(raw_text: str, *, stop_strings: Sequence[str]) -> str:
    """Cut a response before its first stop string."""
    ends = [at for stop in stop_strings if (at := raw_text.find(stop)) >= 0]
    return raw_text[: min(ends, default=len(raw_text))]


def prompt_seed(seed: int, prompt_id: str, sample: int = 0) -> int:
    """Return the seed of one response's draws: a hash of the study's seed and the prompt's id.

    The number of the response enters from the second one on: the first stays what it is alone.
    """
    text = f"{seed}\0{prompt_id}" + (f"\0{sample}" if sample else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
