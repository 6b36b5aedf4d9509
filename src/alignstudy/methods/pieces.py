"""An update's rows in pieces: micro-batches of near-equal length that waste little on padding.

Which rows an update reads is the study's business; in which pieces they go through the model is
not: the pieces' losses are weighted so that their sum is the update's, whatever the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

_PASS_SECONDS, _LAYER_SECONDS = 4e-3, 1.2e-3
"""What one pass forward and backward costs beyond arithmetic: the trainer's part, and a layer's."""

_FLOPS = 6e10
"""Arithmetic of one CPU core a second in float32, as of 2020 to 2025: within a factor 2."""

_FEW_ROWS = 16
"""Below so many tokens a matrix product is no faster for being smaller."""


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
    inner = int(getattr(config, "ffn_dim", None) or getattr(config, "intermediate_size", 0) or 0)
    weights = layers * (4 * hidden * hidden + 2 * hidden * (inner or 4 * hidden))
    seconds = _PASS_SECONDS + layers * _LAYER_SECONDS
    return _FEW_ROWS + round(seconds * _FLOPS / (6 * weights))
