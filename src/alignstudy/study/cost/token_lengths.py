"""Texts measured in tokens by a folder's tokenizer file; no model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    from tokenizers import Tokenizer, models, pre_tokenizers

    path, words, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_truncation()
            tokenizer.no_padding()
        else:
            tokenizer = Tokenizer(models.BPE.from_file(str(words), str(merges)))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    except Exception as error:  # tokenizers' readers raise nothing narrower
        raise NotCountableError(f"{folder} holds no tokenizer file that can be read") from error
    found = tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
    return [len(encoding.ids) for encoding in found]
