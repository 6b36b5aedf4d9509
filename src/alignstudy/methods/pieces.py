"""An update's rows in pieces: micro-batches of near-equal length that waste little on padding.

Which rows an update reads is the study's business; in which pieces they go through the model is
not: the pieces' losses are weighted so that their sum is the update's, whatever the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

_PASS, _LAYER, _WEIGHT = 2e-3, 6e-4, 2.5e-9
"""Seconds that a pass forward and backward costs by itself: the trainer's part, and what each layer
and each weight (whose gradient is touched) adds."""

_FLOPS, _ELEMENT = 5e10, 1.4e-7
"""A CPU core's float32 arithmetic a second, and seconds a token for each layer and hidden unit of
what isn't products of matrices. Measured on models of 0.4 to 23 million weights; right within a
factor 2 on cores of 2020 to 2025, which is enough: near its least the cost is flat."""


@dataclass(frozen=True, kw_only=True)
class PieceRule:
    """How an update's rows are cut into pieces.

    Attributes:
        most_rows: Most rows a piece.
        most_tokens: Most rows times longest row a piece; a longer row goes alone.
        fixed_cost: What one more piece costs, in padded tokens.
        in_order: Whether pieces are `most_rows` rows as they come: where a loss compares or
            averages over a micro-batch, who is with whom is part of the method.
    """

    most_rows: int
    most_tokens: int
    fixed_cost: int
    in_order: bool = False

    def halved(self) -> PieceRule | None:
        """Give the rule after want of memory; None if nothing smaller means the same."""
        if self.in_order or self.most_rows == 1:
            return None
        return replace(self, most_rows=self.most_rows // 2)

    def cut(self, lengths: Sequence[int]) -> list[list[int]]:
        """Cut rows of these lengths (tokens) into pieces, the longest first."""
        if self.in_order:
            rows = range(len(lengths))
            return [list(rows[at : at + self.most_rows]) for at in rows[:: self.most_rows]]
        return _least_cost(lengths, self)


def _least_cost(lengths: Sequence[int], rule: PieceRule) -> list[list[int]]:
    """Cut rows, sorted by length, where rows times longest row, plus the pieces' cost, is least."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    least, cut_at = [0], [0]
    for end in range(1, len(order) + 1):
        starts = [
            start
            for start in range(max(0, end - rule.most_rows), end)
            if start == end - 1 or (end - start) * lengths[order[start]] <= rule.most_tokens
        ]
        costs = [
            least[start] + rule.fixed_cost + (end - start) * lengths[order[start]]
            for start in starts
        ]
        best = min(range(len(costs)), key=lambda at: (costs[at], at))
        least.append(costs[best])
        cut_at.append(starts[best])
    borders = [len(order)]
    while borders[-1]:
        borders.append(cut_at[borders[-1]])
    return [order[start:end] for start, end in pairwise(reversed(borders))]


def cost_of_a_pass(config: Any) -> int:  # noqa: ANN401 - a PreTrainedConfig
    """Say how many tokens could be computed in the time that a pass costs by itself, on a CPU.

    A rule of thumb from the model's shape, not a measurement: the same model gives the same pieces,
    hence the same bits, on every run.
    """
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = getattr(config, "ffn_dim", None) or getattr(config, "intermediate_size", None)
    weights = layers * (4 * hidden * hidden + 2 * hidden * int(inner or 4 * hidden))
    weights += int(config.vocab_size) * int(getattr(config, "word_embed_proj_dim", hidden))
    a_pass = _PASS + layers * _LAYER + weights * _WEIGHT
    a_token = 6 * weights / _FLOPS + layers * hidden * _ELEMENT
    return round(a_pass / a_token)
