"""Reference log-probabilities, computed once a pair and kept for every training that needs them.

They depend on the reference and the pair's tokens alone: every beta, learning rate, seed, loss and
variant of a study shares them. Kept token by token, so that a loss may weight tokens as it likes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.reference.values import (
    TokenRow,
    packed_values,
    padded_batch,
    pair_keys,
    token_rows,
    value_sums,
)
from alignstudy.models.batching import length_batches, run_halving
from alignstudy.progress import Progress
from alignstudy.runtime.keyed_file import KeyedFile

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 64
"""Pairs are stored after so many: what was computed before a kill is not recomputed."""

MOST_TOKENS = 8192
"""Of the longest texts of a batch's rows, padding included: some 16,000 tokens of pairs."""

_KEYS_AT_ONCE = 4096
"""Values in memory at once while reading: a few MB."""

Rows = Mapping[str, tuple[str, TokenRow]]
"""Id and tokens of each different row, by the key of its value."""


@dataclass(frozen=True, kw_only=True)
class References:
    """Log-probabilities of whole responses under the reference, one a row, in the rows' order.

    Attributes:
        sums: By branch ("chosen", "rejected", ...), over its tokens, in nats; float32 values.
        computed: Pairs that went through the reference now; of rows with equal tokens one does.
        reused: Rows whose value had been kept, or was stored by another process meanwhile.
    """

    sums: Mapping[str, tuple[float, ...]]
    computed: int
    reused: int


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The model before training, and how it is asked.

    With `rows_at_once` 1 a value depends on nothing but the pair and the reference. With more, its
    last bits depend on the pairs beside it; such values are kept apart, and whoever stores a pair's
    value first settles it for all.

    Attributes:
        log_probs: Takes `input_ids`, `attention_mask`, `completion_mask`, shape
            (responses, positions), int64, all chosen first, padded on the right; returns float32 of
            shape (responses, positions - 1), natural logarithms of the tokens' probabilities.
        identity: All that a value depends on beside the tokens: hash of the weights, precision,
            kind of device, threads and route of its products, library versions.
        pad_token_id: What rows are padded with; no value depends on it.
        device: Where `log_probs` wants its batch.
        rows_at_once: Most pairs a call of `log_probs`; halved where memory runs out.
        most_tokens: Most tokens of one, padding included; a pair of more goes alone.
    """

    log_probs: Callable[[Mapping[str, Tensor]], Tensor]
    identity: str
    pad_token_id: int
    device: str
    rows_at_once: int
    most_tokens: int = MOST_TOKENS

    def keys(self, pairs: Sequence[TokenRow]) -> list[str]:
        """Name pairs by all that their values depend on."""
        company = "alone" if self.rows_at_once == 1 else "in batches"
        return pair_keys(pairs, f"{company} {self.identity}")

    def values(self, rows: Sequence[tuple[str, TokenRow]]) -> list[bytes]:
        """Compute the values of some rows, given as id and pair.

        Raises:
            GuardError: If a log-probability is not finite.
        """
        import torch

        pairs = [pair for _, pair in rows]
        padded = padded_batch(pairs, self.pad_token_id)
        logps = self.log_probs({name: part.to(self.device) for name, part in padded.items()})
        expected = (len(padded["input_ids"]), padded["input_ids"].shape[1] - 1)
        if tuple(logps.shape) != expected or logps.dtype != torch.float32:
            seen = f"{logps.dtype} of shape {tuple(logps.shape)}"
            raise ValueError(f"log_probs gave {seen}, not float32 of shape {expected}")
        values = packed_values(logps.detach().cpu().numpy(), pairs)
        for (row_id, _), value in zip(rows, values, strict=True):
            if not np.isfinite(np.frombuffer(value, dtype="<f4")).all():
                raise GuardError(
                    f"the reference gives row {row_id} a log-probability that is not finite",
                    why="its logits overflow or are not numbers",
                    hint="look at the weights of the model that training starts from, or set"
                    " precision: fp32",
                )
        return values


def reference_logps(
    reference: Reference,
    encoded: Encoded,
    branches: Sequence[str] = ("chosen", "rejected"),
    *,
    path: Path | None,
    ld_alpha: float | None,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> References:
    """Return every pair's log-probabilities under the reference, computing only what isn't kept.

    Args:
        reference: What computes them.
        encoded: Rows with `prompt_ids` and `<branch>_ids`, cut as trained on.
        branches: Names of the responses.
        path: Where values are kept, a file that studies and processes share; None: nowhere.
        ld_alpha: See `value_sums`; kept values serve every weight.
        progress: Advanced after every batch; a row whose value was kept counts at once.
        should_stop: Asked before every batch.

    Raises:
        GuardError: If a log-probability is not finite: look at the model's weights.
        InterruptedRunError: If `should_stop` said so; what was computed is kept.
        EnvironmentFault: If the file can't be used, or one pair doesn't fit into memory.
    """
    pairs = token_rows(encoded, branches)
    keys = reference.keys(pairs)
    rows = dict(zip(keys, zip(encoded.row_ids, pairs, strict=True), strict=True))
    file = KeyedFile(path, what="reference log-probabilities") if path else None
    copies, sums = Counter(keys), dict[str, tuple[float, ...]]()
    computed = reused = 0
    progress.start("reference", total=len(keys))
    try:
        for values, is_new in _values(reference, rows, copies, file, progress, should_stop):
            for key, value in values.items():
                sums[key] = value_sums(value, rows[key][1], ld_alpha=ld_alpha)
            if is_new:
                computed += len(values)
            else:
                reused += _num_rows(values, copies)
                progress.advance(_num_rows(values, copies))
    finally:
        _show_notes(file, progress)
        progress.finish()
    if len(sums) < len(rows):
        done = _num_rows(sums, copies)
        raise InterruptedRunError(
            f"stopped with reference log-probabilities of {done} of {len(keys)} pairs",
            hint="run the same command again: it goes on from there",
            kept=f"those of {done} pairs" if file else "none of them",
        )
    found = {name: tuple(sums[key][at] for key in keys) for at, name in enumerate(branches)}
    return References(sums=found, computed=computed, reused=reused)


def _values(
    reference: Reference,
    rows: Rows,
    copies: Counter[str],
    file: KeyedFile | None,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[dict[str, bytes], bool]]:
    """Yield values by key, and whether they are new, until all are there or a stop is asked for."""
    keys, known = list(rows), set[str]()
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        kept = file.get(keys[start : start + _KEYS_AT_ONCE]) if file else {}
        known |= kept.keys()
        yield kept, False
    if known:
        of = f"{_num_rows(known, copies)} of {copies.total()} pairs"
        progress.note(f"reference log-probabilities of {of} reused: computed before")
    _show_notes(file, progress)
    for chunk in _chunks(rows, max(CHUNK, reference.rows_at_once)):
        wanted = [key for key in chunk if key not in known]
        kept = file.get(wanted) if file else {}  # stored by another process meanwhile
        yield kept, False
        wanted = [key for key in wanted if key not in kept]
        fresh: dict[str, bytes] = {}
        try:
            lengths = [_num_tokens(rows[key][1]) for key in wanted]
            batches = length_batches(
                lengths,
                batch_size=reference.rows_at_once,
                max_batch_tokens=reference.most_tokens,
            )
            for numbers in batches:
                if should_stop():
                    break
                batch = [wanted[number] for number in numbers]
                asked = [rows[key] for key in batch]
                computed = run_halving(asked, reference.values, note=progress.note)
                fresh |= zip(batch, computed, strict=True)
                progress.advance(_num_rows(batch, copies))
        finally:
            settled = file.put(fresh) if file else fresh
        yield settled, True
        if len(fresh) < len(wanted):
            return


def _num_tokens(row: TokenRow) -> int:
    """Count the tokens of a row's longest text: what all of them are padded to."""
    return max(len(prompt) + len(response) for prompt, response in row)


def _num_rows(keys: Iterable[str], copies: Counter[str]) -> int:
    return sum(copies[key] for key in keys)


def _show_notes(file: KeyedFile | None, progress: Progress) -> None:
    """Report what happened to the file."""
    while file and file.notes:
        progress.note(file.notes.pop(0))


def _chunks(rows: Rows, size: int) -> list[list[str]]:
    """Split rows into chunks of like length that depend on the pairs only, not on what is kept.

    The longest come first, since a lack of memory then shows at once. The order of the others is
    drawn: no value depends on it, and processes that begin together seldom compute the same.
    """
    longest = {key: _num_tokens(row) for key, (_, row) in rows.items()}
    keys = sorted(rows, key=lambda key: (-longest[key], key))
    first, *others = [keys[start : start + size] for start in range(0, len(keys), size)] or [[]]
    random.Random().shuffle(others)
    return [first, *others]
