"""A row's log-probabilities under a reference, as they are kept: name, batch, bytes and sums.

A value is the responses' log-probabilities, one response after the other, a float32 (little endian)
a token. A row's first token is predicted by nothing and has none.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.methods.batches.collate import padded_rows
from alignstudy.methods.batches.encode import Encoded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

FORMAT = 3
"""Part of every key: a change of what a value means leaves the old ones unread."""

Ids = Sequence[int]
TokenRow = tuple[tuple[Ids, Ids], ...]
"""Token ids of each text as prompt and response (chosen and rejected first), as cut."""


def token_rows(encoded: Encoded, branches: Sequence[str]) -> list[TokenRow]:
    """Return each row's texts as prompt and response; a prompt may be cut for one text alone."""
    columns = encoded.columns
    texts = [
        zip(
            columns.get(f"{branch}_prompt_ids", columns["prompt_ids"]),
            columns[f"{branch}_ids"],
            strict=True,
        )
        for branch in branches
    ]
    return list(zip(*texts, strict=True))


def pair_keys(pairs: Sequence[TokenRow], identity: str) -> list[str]:
    """Name rows under a reference: equal keys mean equal tokens, borders and reference.

    Args:
        pairs: The rows.
        identity: All that a log-probability depends on beside the tokens.

    Returns:
        One SHA-256 a row, in hexadecimal.
    """
    stem = hashlib.sha256(json.dumps([FORMAT, identity]).encode() + b"\n")
    keys = []
    for pair in pairs:
        whole = stem.copy()
        parts = [ids for text in pair for ids in text]
        whole.update(struct.pack(f"<{len(parts)}Q", *map(len, parts)))
        for ids in parts:
            whole.update(np.asarray(ids, dtype="<i8").tobytes())
        keys.append(whole.hexdigest())
    return keys


def padded_batch(pairs: Sequence[TokenRow], pad_token_id: int) -> dict[str, Tensor]:
    """Lay rows out as training does, one branch after the other; see `padded_rows`."""
    branches = range(len(pairs[0]))
    return padded_rows([pair[branch] for branch in branches for pair in pairs], pad_token_id)


def packed_values(rows: NDArray[np.float32], pairs: Sequence[TokenRow]) -> list[bytes]:
    """Take each row's value out of what the reference computed for a batch.

    Args:
        rows: Log-probabilities, shape (responses, positions - 1), for a `padded_batch`.
        pairs: The batch's rows.
    """
    values = []
    for number, pair in enumerate(pairs):
        parts = [
            rows[branch * len(pairs) + number, span] for branch, span in enumerate(spans(pair))
        ]
        values.append(b"".join(part.astype("<f4").tobytes() for part in parts))
    return values


def value_sums(value: bytes, pair: TokenRow, *, ld_alpha: float | None) -> tuple[float, ...]:
    """Sum up the log-probabilities of each response.

    The sum is exact and rounded once to float32. A float32 sum over a padded row, as TRL's, depends
    in its last bits on the row's padding and on the order of adding; this one on neither.

    Args:
        value: The row's, as kept.
        pair: Its tokens.
        ld_alpha: Weight of the tokens of chosen and rejected beyond the shorter of the two; None:
            all weigh 1.

    Returns:
        Float32 values, in nats.

    Raises:
        ValueError: If the value is not this row's.

    Source:
        `DPOTrainer.compute_ref_log_probs` of TRL 1.16; `ld_alpha`: LD-DPO, arXiv 2409.06411.
    """
    logps: list[float] = np.frombuffer(value, dtype="<f4").tolist()
    lengths = [span.stop - span.start for span in spans(pair)]
    if sum(lengths) != len(logps):
        raise ValueError(f"{len(logps)} log-probabilities kept for {sum(lengths)} tokens")
    sums, start = [], 0
    for branch, length in enumerate(lengths):
        part, start = logps[start : start + length], start + length
        shared = None if ld_alpha is None or branch > 1 else min(lengths[:2])
        total = math.fsum(part[:shared])
        if shared is not None and ld_alpha is not None:
            total += ld_alpha * math.fsum(part[shared:])
        sums.append(float(np.float32(total)))
    return tuple(sums)


def spans(pair: TokenRow) -> list[slice]:
    """Return where the responses' log-probabilities stand in their rows."""
    lengths = [(len(prompt), len(response)) for prompt, response in pair]
    return [slice(max(p - 1, 0), max(p + r - 1, 0)) for p, r in lengths]
