"""Texts and training rows measured in tokens by a folder's tokenizer file; no model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import AlignstudyError
from alignstudy.methods import Method, TrainingSettings, method_of
from alignstudy.methods.batches.encode import IGNORED, Encoded
from alignstudy.models.rendering import Rendering, load_rendering, rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import TrainingRow

Text = str | tuple[str, str]

SAMPLE = 400
"""Rows whose tokens are counted, about: evenly spread over more."""


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


@dataclass(frozen=True, kw_only=True)
class RowTokens:
    """Tokens of one pass over the rows.

    Attributes:
        rows: That are trained on; one whose prompt leaves no room for a response is not.
        tokens: Of all of them; of a pair, prompt + chosen + prompt + rejected.
        scored: Those at which the vocabulary is computed.
        measured: Of `tokens`, those of texts that no gradient comes from.
        measured_scored: Of `scored` likewise.
    """

    rows: int
    tokens: float
    scored: float
    measured: float = 0.0
    measured_scored: float = 0.0


def row_tokens(
    settings: TrainingSettings,
    rows: Sequence[TrainingRow],
    folder: Path,
    template: str,
) -> RowTokens:
    """Count rows as a method reads them, cut at its `max_length`.

    Args:
        settings: Of the method.
        rows: All of them.
        folder: Of the model: its tokenizer.
        template: How prompts are written.

    Raises:
        NotCountableError: If no row is left, or the tokenizer can't be read.
    """
    sample, method = rows[:: max(1, len(rows) // SAMPLE)], method_of(settings)
    try:
        encoded = method.encode(sample, _rendering(method, folder, template))
    except AlignstudyError as error:
        raise NotCountableError(str(error)) from error
    times = len(rows) / len(sample)
    tokens, scored = _counted(encoded, method, method.branches)
    measured, aside = _counted(
        encoded, method, [each for each in method.branches if each not in method.learnt]
    )
    return RowTokens(
        rows=round(times * len(encoded.row_ids)),
        tokens=times * tokens,
        scored=times * scored,
        measured=times * measured,
        measured_scored=times * aside,
    )


def _counted(encoded: Encoded, method: Method[Any], branches: Sequence[str]) -> tuple[int, int]:
    """Return the tokens of some of the rows' texts, and those that the vocabulary is for."""
    lengths = {name: sum(map(len, ids)) for name, ids in encoded.columns.items()}
    if "labels" in lengths and branches:
        labels = (label for row in encoded.columns["labels"] for label in row)
        return lengths["input_ids"], sum(label != IGNORED for label in labels)
    scored = sum(lengths[f"{branch}_ids"] for branch in branches)
    tokens = scored + len(branches) * lengths.get("prompt_ids", 0)
    return tokens, scored if method.trains == "causal_lm" else 0


def _rendering(method: Method[Any], folder: Path, template: str) -> Rendering:
    if method.trains == "classifier":
        return rendering_of(load_tokenizer(folder), "none")
    return load_rendering(folder, template)
