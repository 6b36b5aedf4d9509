"""Log-probabilities of given tokens, and the entropy beside them, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.models.batching import run_halving
from alignstudy.models.load import load_causal_lm
from alignstudy.progress import Progress
from alignstudy.records import Weights

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from alignstudy.generation.sampling import Continuation

MOST_CELLS = 32_000_000
"""Logits (rows, positions, vocabulary) in memory at once; 128 MB in float32."""


@dataclass(frozen=True, kw_only=True)
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

    Rows go right-padded, in batches of similar prompt length that depend on the rows only: two
    models of one shape see the same batches, so equal weights give equal bits.

    Args:
        model: In evaluation mode.
        rows: The continuations.
        batch_size: Most rows at once.
        progress: Told after every batch.

    Returns:
        One result a row, in their order.
    """
    found: dict[int, TokenScores] = {}

    def score(numbers: Sequence[int]) -> list[TokenScores]:
        return _score(model, [rows[number] for number in numbers])

    vocabulary = int(model.config.vocab_size)
    for numbers in _batches(rows, batch_size=batch_size, vocabulary=vocabulary):
        results = run_halving(numbers, score, note=progress.note)
        found |= dict(zip(numbers, results, strict=True))
        progress.advance(len(numbers))
    return [found[number] for number in range(len(rows))]


def load_plain(weights: Weights, *, device: str) -> PreTrainedModel:
    """Load a model in float32; with an adapter, the model inside, which has the adapter."""
    network = load_causal_lm(weights, dtype="float32", device=device)
    return network.get_base_model() if weights.base is not None else network


def default_batch_size(device: str) -> int:
    """Return the rows that go through a model at once where nobody says."""
    return 8 if device == "cpu" else 64


def _batches(
    rows: Sequence[Continuation], *, batch_size: int, vocabulary: int
) -> Iterator[list[int]]:
    """Group rows of similar prompt length, so that few logits besides the wanted are computed."""
    batch: list[int] = []
    order = sorted(range(len(rows)), key=lambda number: (len(rows[number].prompt), number))
    for number in order:
        grown = [*batch, number]
        start, end = _span([rows[each] for each in grown])
        too_big = len(grown) * (end - start) * vocabulary > MOST_CELLS
        if batch and (len(grown) > batch_size or too_big):
            yield batch
            grown = [number]
        batch = grown
    if batch:
        yield batch


def _span(rows: Sequence[Continuation]) -> tuple[int, int]:
    """Return the range of positions whose logits foretell a wanted token."""
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
        logits = model(
            input_ids=ids, attention_mask=mask, use_cache=False,
            logits_to_keep=torch.arange(start, end, device=ids.device),
        ).logits  # fmt: skip
        logps, entropies = _measured(logits, ids[:, start + 1 : end + 1])
    return [
        TokenScores(
            logps=logps[number, at : at + len(row.tokens)],
            entropies=entropies[number, at : at + len(row.tokens)],
        )
        for number, row in enumerate(rows)
        for at in [len(row.prompt) - 1 - start]
    ]


def _measured(
    logits: torch.Tensor, tokens: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log-probabilities of the tokens, and entropies, both (rows, positions)."""
    logps = logits.float().log_softmax(dim=-1)
    # An impossible token (logit -inf) adds nothing to the entropy; 0 * -inf would be NaN.
    entropies = -(logps.exp() * logps.clamp_min(-1e30)).sum(dim=-1)
    chosen = logps.gather(-1, tokens[..., None])[..., 0]
    return chosen.double().cpu().numpy(), entropies.double().cpu().numpy()
