"""How rows of tokens are laid out for one pass: each prompt once, nothing wasted on padding.

The responses to one prompt are texts with one beginning. Laid out on a shared prefix they are one
row

    prompt tokens | chosen tokens | rejected tokens | perhaps others

in which no response sees another, and each takes up the positions after the prompt again (Wang and
Hegde 2024, arXiv 2410.20305). What any token attends to, and its position, are as in the text
alone, so every log-probability is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from alignstudy.methods.batches.encode import IGNORED

Ints = NDArray[np.int64]

PROMPT = 0
"""The branch that all of a document sees; the others, from 1, don't see each other."""

PADDING = -1
"""The document of positions that belong to none."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rows for one pass, and where its results belong in the batch that was given (R, T).

    Attributes:
        input_ids: (rows, length).
        position_ids: (rows, length), from 0 in every document.
        document: (rows, length) which text, or texts on one prompt, a token belongs to; `PADDING`
            for none.
        branch: (rows, length) `PROMPT`, or which of the texts after it, from 1.
        take: (N,) positions in the flattened rows whose hidden state predicts a target.
        targets: (N,) token ids.
        put: (N,) where the targets' results belong in the flattened (R, T-1).
        texts: R of the batch.
        width: Its T.
        is_joined: Whether a row holds several documents.
        is_causal: Whether the plain causal mask says it all: one text a row, padded at its end.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    document: torch.Tensor
    branch: torch.Tensor
    take: torch.Tensor
    targets: torch.Tensor
    put: torch.Tensor
    texts: int
    width: int
    is_joined: bool
    is_causal: bool

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """What it is made of, by name."""
        return {n: value for n, value in vars(self).items() if isinstance(value, torch.Tensor)}

    def to(self, device: torch.device) -> Layout:
        """Move it."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors.items()}
        return replace(self, **moved)


@dataclass(frozen=True)
class _Strip:
    """One document: a text, or several on their shared prefix."""

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
    sharing: int,
    flat: bool,
    multiple_of: int = 1,
) -> Layout:
    """Lay a right-padded batch out.

    Args:
        input_ids: (R, T); of pairs, all chosen come before all rejected, and these before others.
        attention_mask: (R, T), 1 on tokens, 0 on the padding at the end.
        labels: (R, T) targets at their own places, `IGNORED` elsewhere; one at place 0 has nothing
            before it and is none.
        sharing: Texts with one beginning: rows i, R/sharing + i, ...; 1: each has its own.
        flat: All in one row; else a row each, padded to the longest.
        multiple_of: Rows are padded to a multiple of so many tokens.
    """
    ids, seen, wanted = (t.detach().cpu().numpy() for t in (input_ids, attention_mask, labels))
    lengths = seen.astype(bool).sum(1)
    texts = [
        _Text(ids[row, :n], wanted[row, :n], row, ids.shape[1]) for row, n in enumerate(lengths)
    ]
    each = len(texts) // sharing
    strips = [_strip(texts[first::each]) for first in range(each)]
    rows = [strips] if flat else [[strip] for strip in strips]
    return _joined(rows, ids.shape, multiple_of=multiple_of)


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


def _strip(texts: Sequence[_Text]) -> _Strip:
    """Lay texts out on what all of them begin with, up to the first target of any."""
    first, *others = texts
    places = np.arange(len(first.ids))
    if not others:
        all_prompt = np.full(len(places), PROMPT)
        return _Strip(first.ids, places, all_prompt, first.scored - 1, first.targets, first.put)
    ends = [len(text.ids) for text in texts]
    shared = min(ends + [int(text.scored[0]) for text in texts if len(text.scored)])
    for text in others:
        differs = np.flatnonzero(first.ids[:shared] != text.ids[:shared])
        shared = int(differs[0]) if len(differs) else shared
    ids, positions, take, shift = [first.ids], [places], [first.scored - 1], 0
    branches = [np.full(shared, PROMPT), np.full(ends[0] - shared, 1)]
    for branch, text in enumerate(others, start=2):
        shift += ends[branch - 2] - shared
        # The token that predicts a branch's first one is the prompt's last, in every branch.
        before = text.scored - 1
        take.append(np.where(before < shared, before, before + shift))
        ids.append(text.ids[shared:])
        positions.append(np.arange(shared, len(text.ids)))
        branches.append(np.full(len(text.ids) - shared, branch))
    return _Strip(
        np.concatenate(ids),
        np.concatenate(positions),
        np.concatenate(branches),
        np.concatenate(take),
        np.concatenate([text.targets for text in texts]),
        np.concatenate([text.put for text in texts]),
    )


def _joined(
    rows: Sequence[Sequence[_Strip]], shape_of_batch: Sequence[int], *, multiple_of: int
) -> Layout:
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
        texts=shape_of_batch[0],
        width=shape_of_batch[1],
        is_joined=len(strips) > len(rows),
        is_causal=len(strips) == len(rows) and not branch.any(),
    )


def padded_layout(layout: Layout, length: int, num_targets: int) -> Layout:
    """Pad a layout of one row to a length and a number of targets, none of them less than its own.

    What is added belongs to no document, and its results to no place of the batch: they go behind
    the last one, where `put_back` drops them. Masks and places are always said.
    """
    more = length - layout.input_ids.shape[1]
    added = num_targets - len(layout.targets)
    return replace(
        layout,
        input_ids=pad(layout.input_ids, (0, more)),
        position_ids=pad(layout.position_ids, (0, more)),
        document=pad(layout.document, (0, more), value=PADDING),
        branch=pad(layout.branch, (0, more)),
        take=pad(layout.take, (0, added)),
        targets=pad(layout.targets, (0, added)),
        put=pad(layout.put, (0, added), value=layout.texts * (layout.width - 1)),
        is_joined=True,
        is_causal=False,
    )


def may_attend(layout: Layout) -> torch.Tensor:
    """Return which position (rows, length, 1) may attend to which (rows, 1, length): bool.

    Itself and what came before it in its own document, but for other branches.
    """
    document = layout.document
    return may_see(layout.branch) & (document[:, :, None] == document[:, None, :])


def may_see(branch: torch.Tensor) -> torch.Tensor:
    """Return the same (rows, length, length) for rows of one document each, by its branches."""
    length = branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    same_branch = (branch[:, None, :] == PROMPT) | (branch[:, :, None] == branch[:, None, :])
    return causal & same_branch
