"""What rows take when they are learnt from, counted in tokens and positions of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignstudy.methods.batches.collate import prompt_of
from alignstudy.methods.batches.encode import IGNORED, Encoded
from alignstudy.methods.method import Method

Ints = NDArray[np.int64]
Text = tuple[Sequence[int], Sequence[int]]
"""A text as prompt and response."""


@dataclass(frozen=True, kw_only=True)
class RowWork:
    """What each row takes when it is learnt from once: (R,) each.

    Attributes:
        real: Tokens of all its texts.
        processed: Positions of those that are learnt from, a shared prompt counted once.
        scored: Those of them at which the vocabulary is computed.
        measured: Tokens of the texts that are scored without a gradient.
        measured_targets: Those of them at which the vocabulary is computed.
        alike: A number for each different row: what a reference is asked once for.
        lengths: What rows are grouped by.
    """

    real: Ints
    processed: Ints
    scored: Ints
    measured: Ints
    measured_targets: Ints
    alike: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.real)

    def spread(self, number: int) -> RowWork:
        """Return so many rows, of which these are some, evenly drawn."""
        values = {name: np.resize(each, number) for name, each in vars(self).items()}
        return RowWork(**{**values, "alike": np.arange(number)})


def row_work(method: Method[Any], encoded: Encoded, *, sharing: int) -> RowWork:
    """Count encoded rows, one by one.

    Args:
        method: Whose rows they are; it must not pack them.
        encoded: The rows.
        sharing: Texts that are laid out on one prompt; 1: each has its own.
    """
    counted = _texts if method.branches == ("text",) else _responses
    found = counted(method, encoded.columns, sharing)
    columns = [values for name, values in encoded.columns.items() if name != "labels"]
    lengths = [sum(map(len, row)) for row in zip(*columns, strict=True)]
    numbers: dict[int, int] = {}
    alike = [numbers.setdefault(hash(row), len(numbers)) for row in _whole_rows(encoded)]
    named = np.array(found, dtype=np.int64).reshape(-1, 5).T
    parts = ("real", "processed", "scored", "measured", "measured_targets")
    return RowWork(
        **dict(zip(parts, named, strict=True)),
        alike=np.array(alike, dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int64),
    )


def _texts(_: Method[Any], columns: dict[str, Any], __: int) -> list[tuple[int, ...]]:
    found = list[tuple[int, ...]]()
    for ids, labels in zip(columns["input_ids"], columns["labels"], strict=True):
        scored = sum(label != IGNORED for label in labels[1:])
        found.append((len(ids), len(ids), scored, 0, 0))
    return found


def _responses(method: Method[Any], columns: dict[str, Any], sharing: int) -> list[tuple[int, ...]]:
    found = list[tuple[int, ...]]()
    writes, learnt = method.trains == "causal_lm", len(method.learnt)
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        texts = [(prompt_of(row, name), row[f"{name}_ids"]) for name in method.branches]
        sizes = [len(prompt) + len(response) for prompt, response in texts]
        borders = [max(1, len(prompt)) for prompt, _ in texts]  # nothing predicts a first token
        targets = [
            max(0, size - border) if writes else 0
            for size, border in zip(sizes, borders, strict=True)
        ]
        saved = (learnt - 1) * shared_prefix(texts[:learnt]) if sharing > 1 else 0
        rest, aside = sum(sizes[learnt:]), sum(targets[learnt:])
        own = sum(sizes[:learnt]) - saved
        found.append((sum(sizes), own, sum(targets[:learnt]), rest, aside))
    return found


def shared_prefix(texts: Sequence[Text]) -> int:
    """Return the tokens that texts are laid out on together: see `layout.lay_out`."""
    prompts = [prompt for prompt, _ in texts]
    if all(prompt == prompts[0] for prompt in prompts) and prompts[0]:
        return len(prompts[0])
    whole = [[*prompt, *response] for prompt, response in texts]
    targets = [
        max(1, len(prompt)) for prompt, response in texts if response and (prompt or response[1:])
    ]
    most = min([*map(len, whole), *targets])
    differ = (at for at in range(most) if len({text[at] for text in whole}) > 1)
    return next(differ, most)


def _whole_rows(encoded: Encoded) -> list[tuple[Any, ...]]:
    columns = encoded.columns.values()
    return [tuple(map(tuple, values)) for values in zip(*columns, strict=True)]
