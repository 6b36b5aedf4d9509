"""How rows of tokens are laid out for one pass: each prompt once, nothing wasted on padding.

A preference pair is two texts with one beginning. Laid out on a shared prefix they are one row

    prompt tokens | chosen tokens | rejected tokens

in which the rejected branch doesn't see the chosen one and takes up the positions after the prompt
again (Wang and Hegde 2024, arXiv 2410.20305). What any token attends to, and its position, are as
in the text alone, so every log-probability is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alignstudy.methods.batches.encode import IGNORED

Ints = NDArray[np.int64]

PROMPT, CHOSEN, REJECTED = 0, 1, 2
"""Branches: a prompt is seen by both others, which don't see each other."""

PADDING = -1
"""The document of positions that belong to none."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rows for one pass, and where its results belong in the batch that was given (R, T).

    Attributes:
        input_ids: (rows, length).
        position_ids: (rows, length), from 0 in every document.
        document: (rows, length) which text, or pair, a token belongs to; `PADDING` for none.
        branch: (rows, length) `PROMPT`, `CHOSEN` or `REJECTED`.
        take: (N,) positions in the flattened rows whose hidden state predicts a target.
        targets: (N,) token ids.
        put: (N,) where the targets' results belong in the flattened (R, T-1).
        is_joined: Whether a row holds several texts or pairs.
        is_causal: Whether the plain causal mask says it all: one text a row, padded at its end.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    document: torch.Tensor
    branch: torch.Tensor
    take: torch.Tensor
    targets: torch.Tensor
    put: torch.Tensor
    is_joined: bool
    is_causal: bool

    def to(self, device: torch.device) -> Layout:
        """Move it."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class _Strip:
    """One document: a text, or a pair on its shared prefix."""

    ids: Ints
    positions: Ints
    branch: Ints
    take: Ints
    targets: Ints
    put: Ints


def lay_out(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    *,
    pairs: bool,
    flat: bool,
    multiple_of: int = 1,
) -> Layout:
    """Lay a right-padded batch out.

    Args:
        input_ids: (R, T); of pairs, all chosen come before all rejected.
        attention_mask: (R, T), 1 on tokens, 0 on the padding at the end.
        labels: (R, T) targets at their own places, `IGNORED` elsewhere; one at place 0 has nothing
            before it and is none.
        pairs: Whether row i and row R/2 + i share their beginning.
        flat: All in one row; else a row each, padded to the longest.
        multiple_of: Rows are padded to a multiple of so many tokens.
    """
    ids, seen, wanted = (t.detach().cpu().numpy() for t in (input_ids, attention_mask, labels))
    lengths = seen.astype(bool).sum(1)
    texts = [
        _Text(ids[row, :n], wanted[row, :n], row, ids.shape[1]) for row, n in enumerate(lengths)
    ]
    if pairs:
        half = len(texts) // 2
        strips = [_pair(*both) for both in zip(texts[:half], texts[half:], strict=True)]
    else:
        strips = [
            _Strip(t.ids, places, np.zeros_like(places), t.scored - 1, t.targets, t.put)
            for t in texts
            for places in [np.arange(len(t.ids))]
        ]
    return _joined([strips] if flat else [[strip] for strip in strips], multiple_of)


@dataclass(frozen=True)
class _Text:
    """One row of the batch, without its padding."""

    ids: Ints
    labels: Ints
    row: int
    width: int

    @cached_property
    def scored(self) -> Ints:
        """The places whose token is a target."""
        return np.flatnonzero(self.labels[1:] != IGNORED) + 1

    @property
    def targets(self) -> Ints:
        return self.ids[self.scored]

    @property
    def put(self) -> Ints:
        return self.row * (self.width - 1) + self.scored - 1


def _pair(chosen: _Text, rejected: _Text) -> _Strip:
    """Lay a pair out on what both texts begin with, up to the first target of either."""
    ends = [len(text.ids) for text in (chosen, rejected)]
    ends += [int(text.scored[0]) for text in (chosen, rejected) if len(text.scored)]
    differs = np.flatnonzero(chosen.ids[: min(ends)] != rejected.ids[: min(ends)])
    shared = int(differs[0]) if len(differs) else min(ends)
    branches = [np.full(shared, PROMPT)]
    branches += [
        np.full(len(text.ids) - shared, branch)
        for text, branch in ((chosen, CHOSEN), (rejected, REJECTED))
    ]
    shift = len(chosen.ids) - shared
    places = [np.arange(len(chosen.ids)), np.arange(shared, len(rejected.ids))]
    # The token that predicts a branch's first one is the prompt's last, in either branch.
    before = rejected.scored - 1
    take = [chosen.scored - 1, np.where(before < shared, before, before + shift)]
    return _Strip(
        np.concatenate([chosen.ids, rejected.ids[shared:]]),
        np.concatenate(places),
        np.concatenate(branches),
        np.concatenate(take),
        np.concatenate([chosen.targets, rejected.targets]),
        np.concatenate([chosen.put, rejected.put]),
    )


def _joined(rows: Sequence[Sequence[_Strip]], multiple_of: int) -> Layout:
    """Join documents to rows of one length."""
    longest = max(sum(len(strip.ids) for strip in row) for row in rows)
    length = -(-longest // multiple_of) * multiple_of
    shape = (len(rows), length)
    ids, positions, branch = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    document = np.full(shape, PADDING, dtype=np.int64)
    take = []
    number = 0
    for at, row in enumerate(rows):
        start = 0
        for strip in row:
            part = slice(start, start + len(strip.ids))
            ids[at, part], positions[at, part] = strip.ids, strip.positions
            branch[at, part], document[at, part] = strip.branch, number
            take.append(at * length + start + strip.take)
            start, number = part.stop, number + 1
    strips = [strip for row in rows for strip in row]
    return Layout(
        input_ids=torch.from_numpy(ids),
        position_ids=torch.from_numpy(positions),
        document=torch.from_numpy(document),
        branch=torch.from_numpy(branch),
        take=torch.from_numpy(np.concatenate(take)),
        targets=torch.from_numpy(np.concatenate([strip.targets for strip in strips])),
        put=torch.from_numpy(np.concatenate([strip.put for strip in strips])),
        is_joined=len(strips) > len(rows),
        is_causal=len(strips) == len(rows) and not branch.any(),
    )


def may_attend(layout: Layout) -> torch.Tensor:
    """Return which position (rows, length, 1) may attend to which (rows, 1, length): bool.

    Itself and what came before it in its own document, but for the other branch.
    """
    document = layout.document
    return may_see(layout.branch) & (document[:, :, None] == document[:, None, :])


def may_see(branch: torch.Tensor) -> torch.Tensor:
    """Return the same (rows, length, length) for rows of one document each, by its branches."""
    length = branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    same_branch = (branch[:, None, :] == PROMPT) | (branch[:, :, None] == branch[:, None, :])
    return causal & same_branch
