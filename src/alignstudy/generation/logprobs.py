"""Log-probabilities of given tokens, and the entropy beside them, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alignstudy.generation.sampling import Continuation
from alignstudy.models.batching import run_halving
from alignstudy.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_CELLS = 32_000_000
"""Logits (rows, positions, vocabulary) in memory at once; 128 MB in float32."""


@dataclass(frozen=True)
class TokenScores:
    """What a model makes of each token of a continuation; float64, shape (tokens,).

    Attributes:
        logps: Natural logarithms of the tokens' probabilities, at most 0.
        entropies: Of the whole next-token distribution at each token, in nats, at least 0.
    """

    logps: NDArray[np.float64]
    entropies: NDArray[np.float64]


def token_scores(
    model: PreTrainedModel,
    rows: Sequence[Continuation],
    *,
    batch_size: int,
    progress: Progress,
) -> list[TokenScores]:
    """Return log-probabilities and entropies of continuations under a model.

    Rows go right-padded, in batches of similar prompt length (few logits besides the wanted are
    computed) that depend on the rows only: two models of one shape see the same batches, so equal
    weights give equal bits.

    Args:
        model: In evaluation mode.
        rows: The continuations.
        batch_size: Most rows at once.
        progress: Advanced after every batch.

    Returns:
        One result a row, in their order.
    """
    found: dict[int, TokenScores] = {}
    vocabulary = int(model.config.vocab_size)
    batches: list[list[int]] = []
    for number in sorted(range(len(rows)), key=lambda number: (len(rows[number].prompt), number)):
        grown = [*batches[-1], number] if batches else [number]
        start, end = _span([rows[each] for each in grown])
        fits = len(grown) * (end - start) * vocabulary <= MOST_CELLS
        if batches and fits and len(grown) <= batch_size:
            batches[-1] = grown
        else:
            batches.append([number])
    for numbers in batches:
        batch = [rows[number] for number in numbers]
        results = run_halving(batch, partial(_score, model), note=progress.note)
        found |= dict(zip(numbers, results, strict=True))
        progress.advance(len(numbers))
    return [found[number] for number in range(len(rows))]


def default_batch_size(device: str) -> int:
    """Return the rows that go through a model at once where nobody says."""
    return 8 if device == "cpu" else 64


def _span(rows: Sequence[Continuation]) -> tuple[int, int]:
    """Return the range of positions whose logits predict a wanted token."""
    start = min(len(row.prompt) for row in rows) - 1
    return start, max(len(row.prompt) + len(row.tokens) for row in rows) - 1


def _score(model: PreTrainedModel, rows: Sequence[Continuation]) -> list[TokenScores]:
    """Score one batch."""
    import torch

    texts = [[*row.prompt, *row.tokens] for row in rows]
    length = max(map(len, texts))
    # What stands after a text's end is masked and never read: any token fills the batch up.
    ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts])
    ids, mask = ids.to(model.device), mask.to(model.device)
    start, end = _span(rows)
    with torch.inference_mode():
        wanted = torch.arange(start, end, device=ids.device)
        logits = model(
            input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=wanted
        ).logits
        logps = logits.float().log_softmax(dim=-1)
        # An impossible token (logit -inf) adds nothing to the entropy; 0 * -inf would be NaN.
        entropies = -(logps.exp() * logps.clamp_min(-1e30)).sum(dim=-1)
        logps = logps.gather(-1, ids[:, start + 1 : end + 1, None])[..., 0]
    found = []
    for number, row in enumerate(rows):
        places = slice(len(row.prompt) - 1 - start, len(row.prompt) - 1 - start + len(row.tokens))
        parts = (part[number, places].double().cpu().numpy() for part in (logps, entropies))
        found.append(TokenScores(*parts))
    return found
