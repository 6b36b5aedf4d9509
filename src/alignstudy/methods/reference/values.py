"""A pair's log-probabilities under a reference, as they are kept: name, batch, bytes and sums.

A value is the chosen response's log-probabilities, then the rejected one's, a float32 (little
endian) a token. A row's first token is predicted by nothing and has none.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

FORMAT = 1
"""Part of every key: a change of what a value means leaves the old ones unread."""

Ids = Sequence[int]
TokenPair = tuple[Ids, Ids, Ids]
"""Token ids of prompt, chosen and rejected, as cut."""


def pair_keys(pairs: Sequence[TokenPair], identity: str) -> list[str]:
    """Name pairs under a reference: equal keys mean equal tokens, borders and reference.

    Args:
        pairs: The pairs.
        identity: All that a log-probability depends on beside the tokens.

    Returns:
        One SHA-256 a pair, in hexadecimal.
    """
    stem = hashlib.sha256(json.dumps([FORMAT, identity]).encode() + b"\n")
    keys = []
    for pair in pairs:
        whole = stem.copy()
        whole.update(struct.pack("<3Q", *map(len, pair)))
        for ids in pair:
            whole.update(np.asarray(ids, dtype="<i8").tobytes())
        keys.append(whole.hexdigest())
    return keys


def padded_batch(pairs: Sequence[TokenPair], pad_token_id: int) -> dict[str, Tensor]:
    """Lay pairs out as TRL's collator for preferences does.

    Returns:
        `input_ids`, `attention_mask`, `completion_mask`: int64, shape (2 pairs, positions), the
        chosen rows first, padded on the right.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    rows = [(prompt, chosen) for prompt, chosen, _ in pairs]
    rows += [(prompt, rejected) for prompt, _, rejected in pairs]
    ids = [torch.tensor([*prompt, *response], dtype=torch.int64) for prompt, response in rows]
    attended = [torch.ones_like(row) for row in ids]
    completions = [torch.ones_like(row) for row in ids]
    for (prompt, _), row in zip(rows, completions, strict=True):
        row[: len(prompt)] = 0
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_token_id),
        "attention_mask": pad_sequence(attended, batch_first=True),
        "completion_mask": pad_sequence(completions, batch_first=True),
    }


def packed_values(rows: NDArray[np.float32], pairs: Sequence[TokenPair]) -> list[bytes]:
    """Take each pair's value out of what the reference computed for a batch.

    Args:
        rows: Log-probabilities, shape (2 pairs, positions - 1), for a `padded_batch`.
        pairs: The batch's pairs.
    """
    values = []
    for number, pair in enumerate(pairs):
        chosen, rejected = _spans(pair)
        parts = rows[number, chosen], rows[len(pairs) + number, rejected]
        values.append(b"".join(part.astype("<f4").tobytes() for part in parts))
    return values


def response_sums(value: bytes, pair: TokenPair, *, ld_alpha: float | None) -> tuple[float, float]:
    """Sum up the chosen and the rejected response's log-probabilities.

    The sum is exact and rounded once to float32. A float32 sum over a padded row, as TRL's, depends
    in its last bits on the row's padding and on the order of adding; this one on neither.

    Args:
        value: The pair's, as kept.
        pair: Its tokens.
        ld_alpha: Weight of a response's tokens beyond the length of the pair's shorter one; None:
            all weigh 1.

    Returns:
        Two float32 values, in nats.

    Raises:
        ValueError: If the value is not this pair's.

    Source:
        `DPOTrainer.compute_ref_log_probs` of TRL 1.16; `ld_alpha`: LD-DPO, arXiv 2409.06411.
    """
    logps: list[float] = np.frombuffer(value, dtype="<f4").tolist()
    lengths = [span.stop - span.start for span in _spans(pair)]
    if sum(lengths) != len(logps):
        raise ValueError(f"{len(logps)} log-probabilities kept for {sum(lengths)} tokens")
    shared = None if ld_alpha is None else min(lengths)
    sums = []
    for part in (logps[: lengths[0]], logps[lengths[0] :]):
        total = math.fsum(part[:shared])
        if ld_alpha is not None:
            total += ld_alpha * math.fsum(part[shared:])
        sums.append(float(np.float32(total)))
    return sums[0], sums[1]


def _spans(pair: TokenPair) -> tuple[slice, slice]:
    """Return where the two responses' log-probabilities stand in their rows."""
    prompt, chosen, rejected = map(len, pair)
    start = max(prompt - 1, 0)
    return slice(start, max(prompt + chosen - 1, 0)), slice(start, max(prompt + rejected - 1, 0))
