"""The order in which rows are read when batches are made of rows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

BATCHES_A_POOL = 50
"""Rows are sorted inside pools of so many batches: little padding, and still well mixed."""


class GroupedByLength:
    """A sampler whose order is a pure function of seed and epoch, so that a resumed run repeats it.

    Every row comes once; consecutive batches hold rows of like length. Rows are shuffled, sorted by
    length inside pools, and the whole batches shuffled again; a last batch that isn't full stays
    last.

    Args:
        lengths: Tokens of every row.
        batch_size: Rows an update.
        seed: Of the shuffling.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = list(lengths), batch_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; the data loader calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        random, size = Random(f"{self._seed}:{self._epoch}"), self._batch_size
        rows = list(range(len(self._lengths)))
        random.shuffle(rows)
        batches = []
        for start in range(0, len(rows), BATCHES_A_POOL * size):
            pool = rows[start : start + BATCHES_A_POOL * size]
            ranked = sorted(pool, key=lambda row: self._lengths[row], reverse=True)
            batches += [ranked[at : at + size] for at in range(0, len(ranked), size)]
        full = [batch for batch in batches if len(batch) == size]
        rest = [batch for batch in batches if len(batch) < size]
        random.shuffle(full)
        return (row for batch in full + rest for row in batch)
