"""Texts and training rows measured in tokens by a folder's tokenizer file; no model is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.methods import METHODS
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.encode import rejected_of
from alignstudy.methods.reward_model import judge_texts
from alignstudy.records import Document, Pair

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
    """

    rows: int
    tokens: float
    scored: float


def row_tokens(
    settings: TrainingSettings, rows: Sequence[Pair] | Sequence[Document], folder: Path
) -> RowTokens:
    """Count rows as a method reads them, cut at its `max_length`.

    Args:
        settings: Of the method.
        rows: All of them.
        folder: Of the model: its tokenizer.

    Raises:
        NotCountableError: If no row is left, or the tokenizer can't be read.
    """
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        stated = config.get("eos_token")
    except (OSError, ValueError, AttributeError):
        stated = ""
    # What ends a sequence is a text, or a record that holds it.
    end = str(stated.get("content", "")) if isinstance(stated, dict) else stated or ""
    measured = [_texts(row, settings, end) for row in rows[:: max(1, len(rows) // SAMPLE)]]
    flat = [text for prompt, texts in measured for text in (prompt, *texts)]
    found = iter(token_lengths(folder, flat, special=True))
    method, most = METHODS.load(settings.method), settings.max_length
    drops = getattr(settings, "loss_on", "") == "response" or method.needs_rejected
    used, tokens, scored = 0, 0, 0
    for _, texts in measured:
        prompt, whole = next(found), [min(most, next(found)) for _ in texts]
        if drops and prompt >= most:
            continue
        used, tokens = used + 1, tokens + sum(whole)
        scored += sum(length - prompt for length in whole) if drops else sum(whole)
    if not used:
        raise NotCountableError("no row is left to train on")
    times = len(rows) / len(measured)
    scored = scored if method.trains == "causal_lm" else 0
    return RowTokens(rows=round(times * used), tokens=times * tokens, scored=times * scored)


def _texts(row: Any, settings: TrainingSettings, end: str) -> tuple[str, list[Text]]:  # noqa: ANN401
    """Return a row's prompt, and the texts that go through the model."""
    method = METHODS.load(settings.method)
    if isinstance(row, Document):
        return "", [row.text + end]
    if method.trains == "classifier":
        prompt, *responses = judge_texts(row, getattr(settings, "prompt_form", "cue"))
        return "", [(prompt, response) for response in responses]
    responses = [row.chosen, rejected_of(row)] if method.needs_rejected else [row.chosen]
    return row.prompt, [row.prompt + response + end for response in responses]
