"""The order in which rows are read when batches are made of rows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

BATCHES_A_POOL = 50
"""Rows are sorted inside pools of so many batches: little padding, and still well mixed."""


class GroupedByLength:
    """A sampler whose order is a pure function of seed and epoch, so that a resumed run repeats it.

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
        return iter(
            grouped_order(
                self._lengths, batch_size=self._batch_size, seed=self._seed, epoch=self._epoch
            )
        )


def grouped_order(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[int]:
    """Return every row's index once, so that consecutive batches hold rows of like length.

    Rows are shuffled, sorted by length inside pools, and the whole batches shuffled again; a last
    batch that isn't full stays last.
    """
    random = Random(f"{seed}:{epoch}")
    rows = list(range(len(lengths)))
    random.shuffle(rows)
    pool = BATCHES_A_POOL * batch_size
    batches = []
    for start in range(0, len(rows), pool):
        ranked = sorted(rows[start : start + pool], key=lambda row: lengths[row], reverse=True)
        batches += [ranked[at : at + batch_size] for at in range(0, len(ranked), batch_size)]
    full = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    random.shuffle(full)
    return [row for batch in full + rest for row in batch]
