"""Rows of token ids to a padded batch, one branch after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SAID = ("desirable", "chosen_win", "rejected_win")
"""Columns of what rows say beside their texts: a number each."""


@dataclass(frozen=True)
class PairCollator:
    """Makes a batch of rows with one or several texts that continue one prompt.

    Attributes:
        branches: Names of the texts, in the order of the batch.
        pad_token_id: What rows are padded with, on the right: no result depends on it.
    """

    branches: tuple[str, ...]
    pad_token_id: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return `padded_rows`, and what else rows say: the reference's values, ratings."""
        import torch

        texts = [
            (prompt_of(example, branch), example[f"{branch}_ids"])
            for branch in self.branches
            for example in examples
        ]
        batch = padded_rows(texts, self.pad_token_id)
        for name in [n for n in examples[0] if n.startswith("ref_") or n in SAID]:
            batch[name] = torch.tensor([example[name] for example in examples])
        return batch


def prompt_of(example: Mapping[str, Any], branch: str) -> Sequence[int]:
    """Return the prompt that a row's text continues: its own, where it was cut for it alone."""
    found: Sequence[int] = example.get(f"{branch}_prompt_ids", example.get("prompt_ids", ()))
    return found


def padded_rows(
    texts: Sequence[tuple[Sequence[int], Sequence[int]]], pad_token_id: int
) -> dict[str, Tensor]:
    """Pad texts, given as prompt and response.

    Returns:
        `input_ids`, `attention_mask`, `completion_mask`: int64, shape (texts, positions), padded on
        the right.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor([*prompt, *response], dtype=torch.int64) for prompt, response in texts]
    attended = [torch.ones_like(row) for row in ids]
    completions = [torch.ones_like(row) for row in ids]
    for (prompt, _), row in zip(texts, completions, strict=True):
        row[: len(prompt)] = 0
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_token_id),
        "attention_mask": pad_sequence(attended, batch_first=True),
        "completion_mask": pad_sequence(completions, batch_first=True),
    }
