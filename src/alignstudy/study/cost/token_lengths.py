"""Texts measured in tokens by a model folder's tokenizer file, without loading a model library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Text = str | tuple[str, str]


class NotCountableError(Exception):
    """What a stage will process can't be counted: something isn't made yet, or not readable."""


def token_lengths(folder: Path, texts: Sequence[Text], *, special: bool = False) -> list[int]:
    """Return each text's tokens.

    Args:
        folder: Of the model.
        texts: Each one text, or two that are read together.
        special: Whether the tokens that the tokenizer adds by itself count.

    Raises:
        NotCountableError: If the folder has no tokenizer that can be read so.
    """
    found = _tokenizer(folder).encode_batch_fast(list(texts), add_special_tokens=special)
    return [len(encoding.ids) for encoding in found]


def end_token(folder: Path) -> str:
    """Return the text of the token that ends a sequence; "" where the folder doesn't state it."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        found = config.get("eos_token")
    except (OSError, ValueError, AttributeError):
        return ""
    return str(found.get("content", "")) if isinstance(found, dict) else found or ""


def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers

    path, words, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return tokenizer
        tokenizer = Tokenizer(models.BPE.from_file(str(words), str(merges)))
    except Exception as error:  # tokenizers' readers raise nothing narrower
        raise NotCountableError(f"{folder} holds no tokenizer file that can be read") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
