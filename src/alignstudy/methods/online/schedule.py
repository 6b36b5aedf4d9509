"""Which prompts an online training samples after, and which of them an update learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from alignstudy.errors import DataError
from alignstudy.methods.online.settings import OnlineSettings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A pure function of its fields: a resumed training repeats it.

    Prompts are shuffled anew for every epoch and taken in rollouts; what is left of an epoch, less
    than a rollout, waits for the next one. Each rollout is learnt from in `steps_per_generation`
    updates, `num_iterations` times over.

    Attributes:
        num_rows: Prompts.
        batch_size: Of an update.
    """

    num_rows: int
    batch_size: int
    steps_per_generation: int
    num_iterations: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse fewer prompts than a rollout has."""
        if self.num_rows < self.at_once:
            raise DataError(
                f"{self.num_rows} prompts are fewer than are sampled after at once",
                why=f"an update has {self.batch_size} prompts, a rollout those of"
                f" {self.steps_per_generation}",
                hint="set a smaller per_device_train_batch_size (or total_train_batch_size,"
                " gradient_accumulation_steps, steps_per_generation), or take more rows",
            )

    @property
    def at_once(self) -> int:
        """Prompts of a rollout."""
        return self.batch_size * self.steps_per_generation

    @property
    def updates(self) -> int:
        """Updates that learn from a rollout."""
        return self.steps_per_generation * self.num_iterations

    @property
    def rollouts_an_epoch(self) -> int:
        """Rollouts in which nearly every prompt is sampled after once."""
        return self.num_rows // self.at_once

    @property
    def steps_an_epoch(self) -> int:
        """Updates likewise."""
        return self.rollouts_an_epoch * self.updates

    def due(self, step: int) -> bool:
        """Whether a rollout is made before the update that follows so many."""
        return step % self.updates == 0

    def rollout(self, step: int) -> int:
        """Return the number, from 0, of the rollout that the update after so many learns from."""
        return step // self.updates

    def prompts(self, rollout: int) -> tuple[int, ...]:
        """Return the rows that a rollout samples after."""
        epoch, at = divmod(rollout, self.rollouts_an_epoch)
        return _order(self.num_rows, self.seed, epoch)[at * self.at_once : (at + 1) * self.at_once]

    def part(self, step: int) -> range:
        """Return the places in its rollout of the rows that the update after so many learns."""
        at = step % self.steps_per_generation * self.batch_size
        return range(at, at + self.batch_size)

    def rows(self, step: int) -> list[int]:
        """Return those rows."""
        prompts = self.prompts(self.rollout(step))
        return [prompts[place] for place in self.part(step)]


@lru_cache(maxsize=4)
def _order(num_rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    rows = list(range(num_rows))
    Random(f"{seed}:{epoch}").shuffle(rows)
    return tuple(rows)


class ScheduledRows:
    """The schedule as the data loader's sampler."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule, self._epoch = schedule, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; the data loader calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._schedule.steps_an_epoch * self._schedule.batch_size

    def __iter__(self) -> Iterator[int]:
        each = self._schedule.steps_an_epoch
        first = self._epoch * each
        return (row for step in range(first, first + each) for row in self._schedule.rows(step))


def schedule_of(settings: OnlineSettings, num_rows: int, seed: int) -> Schedule:
    """Return when a training of so many prompts samples after which."""
    return Schedule(
        num_rows=num_rows,
        batch_size=settings.effective_batch_size,
        steps_per_generation=settings.steps_per_generation,
        num_iterations=settings.num_iterations,
        seed=seed,
    )
