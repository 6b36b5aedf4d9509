"""Reference log-probabilities, computed once a pair and kept for every training that needs them.

They hang on the reference and the pair's tokens alone: every beta, learning rate, seed, loss and
variant of a study shares them. Kept a token, so that a loss may weight tokens as it likes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods.reference.values import (
    TokenPair,
    is_finite,
    packed_values,
    padded_batch,
    pair_keys,
    response_sums,
)
from alignstudy.models.batching import run_halving
from alignstudy.runtime.keyed_file import KeyedFile

if TYPE_CHECKING:
    from torch import Tensor

    from alignstudy.methods.batches.encode import Encoded
    from alignstudy.progress import Progress

CHUNK = 64
"""Pairs are stored after so many: what was computed before a kill is not computed again."""

_KEYS_AT_ONCE = 4096
"""Values in memory at once while reading: a few MB."""


class ReferenceCache:
    """Where reference log-probabilities are kept, by the pair's key.

    Args:
        path: The file, shared by studies and processes; None: kept in memory, as long as this.

    Attributes:
        lasts: Whether what is kept outlives the process.
        notes: What happened to the file, in words.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = KeyedFile(path, what="reference log-probabilities") if path else None
        self._values: dict[str, bytes] = {}
        self.lasts = path is not None
        self.notes: list[str] = self._file.notes if self._file else []

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there, by key.

        Raises:
            EnvironmentFault: If the file can't be read.
        """
        if self._file:
            return self._file.get(keys)
        return {key: self._values[key] for key in keys if key in self._values}

    def put(self, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Store values; one that is there stays. Give what is there now, for these keys.

        Raises:
            EnvironmentFault: If the file can't be written.
        """
        if self._file:
            return self._file.put(values)
        return {key: self._values.setdefault(key, value) for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class References:
    """Log-probabilities of whole responses under the reference, one a row, in the rows' order.

    Attributes:
        chosen: Sums over the chosen responses' tokens, in nats; float32 values.
        rejected: The same of the rejected responses.
        computed: Pairs that went through the reference now; of rows with equal tokens one does.
        reused: Rows whose value had been kept, or was stored by another process meanwhile.
    """

    chosen: tuple[float, ...]
    rejected: tuple[float, ...]
    computed: int
    reused: int


def reference_logps(
    log_probs: Callable[[Mapping[str, Tensor]], Tensor],
    encoded: Encoded,
    *,
    cache: ReferenceCache,
    identity: str,
    pad_token_id: int,
    ld_alpha: float | None,
    device: str,
    rows_at_once: int,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> References:
    """Return every pair's log-probabilities under the reference, computing only what isn't kept.

    `response_sums` says how tokens are summed. With `rows_at_once` 1 a value hangs on nothing but
    the pair and the reference. With more, its last bits hang on the pairs beside it; such values
    are kept apart, and whoever stores a pair's value first settles it for all.

    Args:
        log_probs: The reference: takes `input_ids`, `attention_mask`, `completion_mask`, shape
            (2 pairs, positions), int64, chosen rows first, padded on the right; gives float32 of
            shape (2 pairs, positions - 1), natural logarithms of the tokens' probabilities.
        encoded: Rows with `prompt_ids`, `chosen_ids` and `rejected_ids`, cut as trained on.
        cache: Where values are kept.
        identity: All that a value hangs on beside the tokens: hash of the weights, precision,
            kind of device, threads and route of its products, library versions.
        pad_token_id: What rows are padded with; no value hangs on it.
        ld_alpha: Weight of a response's tokens beyond the length of the pair's shorter one; None:
            all weigh 1. Kept values serve every weight.
        device: Where `log_probs` wants its batch.
        rows_at_once: Most pairs a call of `log_probs`; halved where memory runs out.
        progress: Told after every batch; a row whose value was kept counts at once.
        should_stop: Asked before every batch.

    Raises:
        GuardError: If a log-probability is not finite: look at the model's weights.
        InterruptedRunError: If `should_stop` said so; what was computed is kept.
        EnvironmentFault: If the file can't be used, or one pair doesn't fit into memory.
    """
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    pairs = list(zip(*(encoded.columns[name] for name in names), strict=True))
    keys = pair_keys(pairs, f"{'alone' if rows_at_once == 1 else 'in batches'} {identity}")
    work = _Work(
        log_probs=log_probs,
        cache=cache,
        pairs=dict(zip(keys, pairs, strict=True)),
        row_ids=dict(zip(keys, encoded.row_ids, strict=True)),
        copies=Counter(keys),
        pad_token_id=pad_token_id,
        ld_alpha=ld_alpha,
        device=device,
        rows_at_once=rows_at_once,
        progress=progress,
        should_stop=should_stop,
    )
    return work.run(keys)


@dataclass(kw_only=True)
class _Work:
    """What is known so far of each different pair, by key."""

    log_probs: Callable[[Mapping[str, Tensor]], Tensor]
    cache: ReferenceCache
    pairs: dict[str, TokenPair]
    row_ids: dict[str, str]
    copies: Counter[str]
    pad_token_id: int
    ld_alpha: float | None
    device: str
    rows_at_once: int
    progress: Progress
    should_stop: Callable[[], bool]
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    computed: int = 0
    reused: int = 0

    def run(self, keys: Sequence[str]) -> References:
        """Return the sums of all pairs, one result a row."""
        self.progress.start("reference", total=self.copies.total())
        try:
            self._look_up()
            self._compute_rest()
        finally:
            self._tell_notes()
            self.progress.finish()
        chosen, rejected = (tuple(self.sums[key][part] for key in keys) for part in (0, 1))
        return References(
            chosen=chosen, rejected=rejected, computed=self.computed, reused=self.reused
        )

    def _look_up(self) -> None:
        """Read what was kept before."""
        keys = list(self.pairs)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            self._reuse(keys[start : start + _KEYS_AT_ONCE])
        if self.reused:
            of = f"{self.reused} of {self.copies.total()} pairs"
            self.progress.note(f"reference log-probabilities of {of} reused: computed before")
        self._tell_notes()

    def _compute_rest(self) -> None:
        """Compute what isn't kept, a chunk at a time."""
        for chunk in _chunks(self.pairs, max(CHUNK, self.rows_at_once)):
            wanted = [key for key in chunk if key not in self.sums]
            self._reuse(wanted)  # another process may have stored them meanwhile
            self._compute([key for key in wanted if key not in self.sums])

    def _tell_notes(self) -> None:
        """Return what happened to the file."""
        while self.cache.notes:
            self.progress.note(self.cache.notes.pop(0))

    def _reuse(self, keys: Sequence[str]) -> None:
        known = self._take(self.cache.get(keys))
        self.reused += known
        self.progress.advance(known)

    def _compute(self, keys: Sequence[str]) -> None:
        fresh: dict[str, bytes] = {}
        try:
            stopped = self._stopped_while_computing(keys, fresh)
        finally:
            self._take(self.cache.put(fresh))
        if stopped:
            raise self._interrupted()

    def _stopped_while_computing(self, keys: Sequence[str], fresh: dict[str, bytes]) -> bool:
        """Fill `fresh`, batch by batch; say whether a stop was asked for before the end."""
        for start in range(0, len(keys), self.rows_at_once):
            if self.should_stop():
                return True
            batch = keys[start : start + self.rows_at_once]
            values = run_halving(batch, self._values, note=self.progress.note)
            fresh |= dict(zip(batch, values, strict=True))
            self.computed += len(batch)
            self.progress.advance(sum(self.copies[key] for key in batch))
        return False

    def _values(self, keys: Sequence[str]) -> list[bytes]:
        """Run the reference on some pairs."""
        import torch

        pairs = [self.pairs[key] for key in keys]
        laid_out = padded_batch(pairs, self.pad_token_id)
        batch = {name: each.to(self.device) for name, each in laid_out.items()}
        given = self.log_probs(batch)
        expected = (2 * len(pairs), batch["input_ids"].shape[1] - 1)
        if tuple(given.shape) != expected or given.dtype != torch.float32:
            seen = f"{given.dtype} of shape {tuple(given.shape)}"
            raise ValueError(f"log_probs gave {seen}, not float32 of shape {expected}")
        values = packed_values(given.detach().cpu().numpy(), pairs)
        for key, value in zip(keys, values, strict=True):
            if not is_finite(value):
                raise _not_finite(self.row_ids[key])
        return values

    def _take(self, values: Mapping[str, bytes]) -> int:
        """Sum up kept values; give the number of rows that they are for."""
        for key, value in values.items():
            self.sums[key] = response_sums(value, self.pairs[key], ld_alpha=self.ld_alpha)
        return sum(self.copies[key] for key in values)

    def _interrupted(self) -> InterruptedRunError:
        done = sum(self.copies[key] for key in self.sums)
        return InterruptedRunError(
            f"stopped with reference log-probabilities of {done} of {self.copies.total()} pairs",
            hint="run the same command again: it goes on from there",
            kept=f"those of {done} pairs" if self.cache.lasts else "none of them",
        )


def _chunks(pairs: Mapping[str, TokenPair], size: int) -> list[list[str]]:
    """Split pairs into chunks of like length that hang on the pairs only, not on what is kept.

    The longest come first, since want of memory then shows at once. The order of the others is
    drawn: no value hangs on it, and processes that begin together seldom compute the same.
    """
    keys = sorted(pairs, key=lambda key: (-_longest(pairs[key]), key))
    first, *others = [keys[start : start + size] for start in range(0, len(keys), size)] or [[]]
    random.Random().shuffle(others)
    return [first, *others]


def _longest(pair: TokenPair) -> int:
    prompt, chosen, rejected = pair
    return len(prompt) + max(len(chosen), len(rejected))


def _not_finite(row_id: str) -> GuardError:
    return GuardError(
        f"the reference gives row {row_id} a log-probability that is not finite",
        why="its logits overflow or are not numbers",
        hint="look at the weights of the model that training starts from, or set precision: fp32",
    )
