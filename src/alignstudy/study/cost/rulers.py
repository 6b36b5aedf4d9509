"""Texts measured in tokens without loading a model library: a tokenizer's file, or a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHARACTERS_A_TOKEN = 4.0
"""Of English under a vocabulary of some ten thousand tokens (HH-RLHF under GPT-2's: 4.3)."""


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """Measures texts in tokens.

    Attributes:
        tokenizer: None: by characters.
        basis: What the measure rests on, in words.
    """

    tokenizer: Tokenizer | None
    basis: str
    _known: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def lengths(self, texts: Sequence[str]) -> list[float]:
        """Return each text's tokens, special ones not counted."""
        if self.tokenizer is None:
            return [len(text) / CHARACTERS_A_TOKEN for text in texts]
        fresh = list({text for text in texts if text not in self._known})
        found = self.tokenizer.encode_batch_fast(fresh, add_special_tokens=False)
        lengths = (float(len(encoding.ids)) for encoding in found)
        self._known.update(zip(fresh, lengths, strict=True))
        return [self._known[text] for text in texts]


def ruler_of_folder(folder: Path) -> Ruler:
    """Read a model folder's tokenizer: tokenizer.json, or GPT-2's two files; else by characters."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if path.is_file():
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return Ruler(tokenizer=tokenizer, basis="the model's tokenizer")
    words, merges = folder / "vocab.json", folder / "merges.txt"
    if words.is_file() and merges.is_file():
        return Ruler(tokenizer=_byte_level(words, merges), basis="the model's tokenizer")
    return by_characters()


def by_characters() -> Ruler:
    """Guess tokens from characters."""
    return Ruler(tokenizer=None, basis=f"{CHARACTERS_A_TOKEN:g} characters a token")


def ruler_of_sample(texts: Sequence[str], *, vocabulary: int) -> Ruler:
    """Train a byte-level tokenizer on a few hundred texts, as the study will on all of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if not texts:
        return by_characters()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    return Ruler(tokenizer=tokenizer, basis="a tokenizer trained on a sample")


def _byte_level(words: Path, merges: Path) -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(words), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
