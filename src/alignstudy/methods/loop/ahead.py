"""What a training will compute, counted from its rows alone: no model is loaded.

The counts are those that the trainer makes as it goes (`WorkDone`), of a run that nothing
interrupts and that finds nothing kept, rows padded by nothing: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alignstudy.errors import DataError
from alignstudy.methods import method_of
from alignstudy.methods.base import TrainingSettings, WorkDone
from alignstudy.methods.batches.encode import IGNORED, Encoded
from alignstudy.methods.batches.order import GroupedByLength
from alignstudy.methods.batches.row_work import Ints, RowWork, row_work
from alignstudy.methods.loop.arguments import probe_steps
from alignstudy.methods.loop.preparing import sharing_of
from alignstudy.methods.loop.probing import evenly
from alignstudy.methods.method import Method
from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.preference import PairSettings, ReadsPairs
from alignstudy.methods.weights.initial import is_noisy
from alignstudy.models.load import read_config
from alignstudy.models.quantized import import_before_others
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair, TrainingRow


def packed_work(settings: TrainingSettings, encoded: Encoded) -> RowWork:
    """Count rows of `max_length` that several texts fill; the first token of none is a target."""
    import_before_others()
    from alignstudy.methods.loop.trl_adapter import rows_as_dataset

    rows = rows_as_dataset(method_of(settings), encoded)
    found = []
    for ids, labels, lengths in zip(
        rows["input_ids"], rows["labels"], rows["seq_lengths"], strict=True
    ):
        starts = [0, *accumulate(lengths)][:-1]
        targets = sum(label != IGNORED for label in labels)
        found.append((len(ids), targets - sum(labels[at] != IGNORED for at in starts)))
    real, scored = np.array(found, dtype=np.int64).reshape(-1, 2).T
    none = np.zeros_like(real)
    return RowWork(
        real=real,
        processed=real,
        scored=scored,
        measured=none,
        measured_targets=none,
        alike=np.arange(len(real)),
        lengths=real,
    )


@dataclass(frozen=True, kw_only=True)
class WorkAhead:
    """What so many steps of one training compute.

    Attributes:
        settings: The training's.
        rows: What each row takes.
        seed: The training's: it decides on the order.
        asks_in_steps: Whether the reference is asked in every step, not once a row.
        held_out: Held-out pairs that the probe measures.
    """

    settings: TrainingSettings
    rows: RowWork
    seed: int
    asks_in_steps: bool = False
    held_out: int = 0

    @property
    def steps_an_epoch(self) -> int:
        """Steps in which every row is read once."""
        return self.settings.steps_an_epoch(len(self.rows))

    def after(self, steps: int) -> WorkDone:
        """Count the work of the first steps."""
        seen = self.rows_read(steps)
        if isinstance(self.settings, OnlineSettings):
            return self._online(self.settings, steps, seen)
        return WorkDone(
            rows=seen,
            real_tokens=self._sum("real", seen),
            processed_tokens=self._sum("processed", seen),
            scored_tokens=self._sum("scored", seen),
            measured_tokens=self._sum("measured", seen),
            measured_targets=self._sum("measured_targets", seen),
            reference_pairs=self._asked(seen),
            probed_pairs=self._probed(steps, seen),
        )

    def _online(self, settings: OnlineSettings, steps: int, seen: int) -> WorkDone:
        """Expect samples as long as the rows' own responses, which stand in for them."""
        each, rows = settings.num_generations, self.rows
        rollouts = ceil(steps / (settings.steps_per_generation * settings.num_iterations)) + 1
        asked = rollouts * settings.effective_batch_size * settings.steps_per_generation
        models = 1 + (method_of(settings).reference != "none")
        written, has_critic = int(asked * rows.scored.mean()), isinstance(settings, PPOSettings)
        own = seen / each if getattr(settings, "ptx_coef", 0) else 0.0
        return WorkDone(
            rows=seen,
            real_tokens=int(seen * rows.real.mean()),
            processed_tokens=int(seen * rows.processed.mean() + own * rows.real.mean()),
            scored_tokens=int((seen + own) * rows.scored.mean()),
            measured_tokens=int(models * asked * rows.processed.mean()),
            measured_targets=models * written,
            samples=asked * each,
            asked_tokens=int(asked * rows.real.mean()) - written,
            written_tokens=written,
            critic_tokens=int(has_critic * seen * rows.processed.mean()),
            critic_read_tokens=int(has_critic * asked * rows.processed.mean()),
        )

    def rows_read(self, steps: int) -> int:
        """Return how many rows the first steps read, one that comes again counted again."""
        if isinstance(self.settings, OnlineSettings):
            return steps * self.settings.effective_batch_size
        epochs, rest = divmod(steps, self.steps_an_epoch)
        size = len(self.rows)
        return epochs * size + min(size, rest * self.settings.effective_batch_size)

    def _sum(self, name: str, seen: int) -> int:
        """Add up a count over the first rows that are read."""
        epochs, rest = divmod(seen, len(self.rows))
        values: Ints = getattr(self.rows, name)
        return epochs * int(values.sum()) + int(self._running(name, epochs)[rest])

    def _running(self, name: str, epoch: int) -> Ints:
        """Return a count's running sums over an epoch, from 0."""
        if (name, epoch) not in self._sums:
            values: Ints = getattr(self.rows, name)
            self._sums[name, epoch] = np.concatenate([[0], np.cumsum(values[self._order(epoch)])])
        return self._sums[name, epoch]

    @cached_property
    def _sums(self) -> dict[tuple[str, int], Ints]:
        return {}

    def _order(self, epoch: int) -> Ints:
        """Return the rows as an epoch reads them, from 0."""
        size = len(self.rows)
        if self.settings.group_by_length:
            sampler = GroupedByLength(
                self.rows.lengths.tolist(),
                batch_size=self.settings.effective_batch_size,
                seed=self.seed,
            )
            sampler.set_epoch(epoch)
            return np.array(list(sampler), dtype=np.int64)
        drawn = torch.Generator().manual_seed(self.seed + epoch)  # as accelerate's sampler does
        order: Ints = torch.randperm(size, generator=drawn).numpy()
        return order

    def _asked(self, seen: int) -> int:
        """Count the rows that the reference is asked for: equal ones once, or in every step."""
        if method_of(self.settings).reference == "none":
            return 0
        if self.asks_in_steps:
            return seen
        return int(self._different[min(seen, len(self.rows))])

    @cached_property
    def _different(self) -> Ints:
        """How many different rows the first 0, 1, ... of an epoch are."""
        firsts = np.zeros(len(self.rows), dtype=np.int64)
        firsts[np.unique(self.rows.alike[self._order(0)], return_index=True)[1]] = 1
        return np.concatenate([[0], np.cumsum(firsts)])

    def _probed(self, steps: int, seen: int) -> int:
        settings = self.settings
        if not (isinstance(settings, PairSettings) and settings.probe_pairs):
            return 0
        pairs = self.held_out
        if method_of(settings).rows == "pairs":
            pairs += min(settings.probe_pairs, seen, len(self.rows))
        return pairs * (1 + len(probe_steps(settings, steps, pairs))) if pairs else 0


def nearest_steps(work: Sequence[float], target: float) -> int:
    """Return the number of steps whose work is nearest to a target: never less for a larger one.

    Args:
        work: Of 1, 2, ... steps; the first one that reaches the target decides.
        target: In the same unit.
    """
    at = next((n for n, done in enumerate(work) if done >= target), len(work) - 1)
    if at and target - work[at - 1] < work[at] - target:
        return at
    return at + 1


def work_ahead(
    settings: TrainingSettings,
    rows: Sequence[TrainingRow],
    rendering: Rendering,
    folder: Path,
    *,
    seed: int,
    own_reference: bool,
    held_out: Sequence[Pair],
) -> WorkAhead:
    """Return what a training on these rows will compute.

    Args:
        settings: Of the training; its numbers of epochs and steps aren't read.
        rows: To train on.
        rendering: Of the model.
        folder: Of the model: its configuration.
        seed: The training's.
        own_reference: Whether the model that it starts from is its own reference.
        held_out: Pairs that nothing is learnt from.

    Raises:
        DataError: If no row is left to train on.
    """
    method = method_of(settings)
    encoded = method.encode(rows, rendering)
    if method.packs:
        return WorkAhead(settings=settings, rows=packed_work(settings, encoded), seed=seed)
    config = read_config(folder, 0.0 if settings.dropout == "off" else None)
    noised = own_reference and settings.lora is not None and is_noisy(config)
    return WorkAhead(
        settings=settings,
        rows=row_work(method, encoded, sharing=sharing_of(method, config)),
        seed=seed,
        asks_in_steps=noised or method.objective.compares_vocabulary,
        held_out=_probe_pairs(method, held_out, rendering),
    )


def _probe_pairs(method: Method[Any], held_out: Sequence[Pair], rendering: Rendering) -> int:
    """Count the held-out pairs that the probe will find fit to be measured."""
    if not (held_out and isinstance(method, ReadsPairs) and method.settings.probe_pairs):
        return 0
    try:
        taken = evenly(held_out, method.settings.probe_pairs)
        return len(method.encode_pairs(taken, rendering).row_ids)
    except DataError:
        return 0
