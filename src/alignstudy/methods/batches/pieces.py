"""An update's rows in pieces: micro-batches of near-equal length that waste little on padding.

Which rows an update reads is the study's business; in which pieces they go through the model is
not: the pieces' losses are weighted so that their sum is the update's, whatever the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from alignstudy.methods.batches.encode import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

_PASS, _LAYER, _WEIGHT = 4e-3, 1.2e-3, 2.5e-9
"""Seconds that a pass forward and backward costs by itself: the trainer's part, and what each layer
and each weight (whose gradient is touched) adds."""

_FLOPS, _ELEMENT = 5e10, 1.4e-7
"""A CPU core's float32 arithmetic a second, and seconds a token for each layer and hidden unit of
what isn't products of matrices. Measured on models of 0.4 to 23 million weights; right within a
factor 2 on cores of 2020 to 2025, which is enough: near its least the cost is flat."""

_ACTIVATIONS = 2**28
"""Float32 numbers of a GiB."""


@dataclass(frozen=True, kw_only=True)
class MicroBatchRule:
    """How an update's rows are cut into pieces.

    Attributes:
        most_rows: Most rows a piece.
        most_tokens: Most tokens a piece, padding included; a longer row goes alone.
        fixed_cost: What one more piece costs, in padded tokens.
        joined: Whether a piece's rows are joined to one, without padding.
        in_order: Whether pieces are `most_rows` rows as they come: where a loss compares or
            averages over a micro-batch, who is with whom is part of the method.
    """

    most_rows: int
    most_tokens: int
    fixed_cost: int
    joined: bool = False
    in_order: bool = False

    def halved(self) -> MicroBatchRule | None:
        """Return the rule after lack of memory; None if nothing smaller means the same."""
        if self.in_order or self.most_rows == 1:
            return None
        return replace(self, most_rows=self.most_rows // 2)

    def cut(self, lengths: Sequence[int]) -> list[list[int]]:
        """Cut rows of these lengths (tokens) into pieces, the longest first.

        Sorted by length, where all pieces' tokens, plus the pieces' cost, are least.
        """
        if self.in_order:
            rows = range(len(lengths))
            return [list(rows[at : at + self.most_rows]) for at in rows[:: self.most_rows]]
        order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
        before = [0, *accumulate(lengths[row] for row in order)]

        def tokens(start: int, end: int) -> int:
            if self.joined:
                return before[end] - before[start]
            return (end - start) * lengths[order[start]]

        least, cut_at = [0], [0]
        for end in range(1, len(order) + 1):
            cost, start = min(
                (least[start] + self.fixed_cost + tokens(start, end), start)
                for start in range(max(0, end - self.most_rows), end)
                if start == end - 1 or tokens(start, end) <= self.most_tokens
            )
            least.append(cost)
            cut_at.append(start)
        borders = [len(order)]
        while borders[-1]:
            borders.append(cut_at[borders[-1]])
        return [order[start:end] for start, end in pairwise(reversed(borders))]


def rows_of(inputs: dict[str, Any], rows: Sequence[int], branches: int) -> dict[str, Any]:
    """Return some rows as the collator would have made a batch of them."""
    import torch

    each = len(inputs["input_ids"]) // branches
    at = torch.tensor([branch * each + row for branch in range(branches) for row in rows])
    at = at.to(inputs["input_ids"].device)
    length = int(inputs["attention_mask"][at].sum(1).max())
    return {
        name: value[at[: len(rows)]] if value.dim() == 1 else value[at, :length]
        for name, value in inputs.items()
    }


def num_targets(batch: dict[str, Any]) -> Tensor:
    """Return the (R,) numbers of tokens that the loss sees; a row's first token is never one."""
    if "labels" in batch:
        seen = batch["labels"] != IGNORED
    else:
        seen = batch.get("completion_mask", batch["attention_mask"]) != 0
    return seen[:, 1:].sum(1)  # type: ignore[no-any-return]


def tokens_in_memory(config: Any) -> int:  # noqa: ANN401 - a PreTrainedConfig
    """Return how many tokens' activations about a GiB holds, in float32."""
    a_layer = 9 * int(config.hidden_size) + 2 * _inner(config)
    return _ACTIVATIONS // (int(config.num_hidden_layers) * a_layer)


def cost_of_a_pass(config: Any) -> int:  # noqa: ANN401 - a PreTrainedConfig
    """Return how many tokens could be computed in the time that a pass costs by itself, on a CPU.

    A rule of thumb from the model's shape, not a measurement: the same model gives the same pieces,
    hence the same bits, on every run.
    """
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    weights = layers * (4 * hidden * hidden + 2 * hidden * _inner(config))
    weights += int(config.vocab_size) * int(getattr(config, "word_embed_proj_dim", hidden))
    a_pass = _PASS + layers * _LAYER + weights * _WEIGHT
    a_token = 6 * weights / _FLOPS + layers * hidden * _ELEMENT
    return round(a_pass / a_token)


def _inner(config: Any) -> int:  # noqa: ANN401 - a PreTrainedConfig
    inner = getattr(config, "ffn_dim", None) or getattr(config, "intermediate_size", None)
    return int(inner or 4 * config.hidden_size)
