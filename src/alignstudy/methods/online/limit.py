"""An end by arithmetic: an online training can't know beforehand how long its samples will be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class EndedEarly(Exception):
    """Training ends before its last step, for a reason that isn't a fault.

    Attributes:
        steps: Updates that the model has gone through.
    """

    def __init__(self, why: str, *, steps: int) -> None:
        super().__init__(why)
        self.steps = steps


@dataclass(kw_only=True)
class Limit:
    """Ends a training at the update nearest to so much arithmetic.

    Attributes:
        most: Operations, those of the rollout after the last update included; None: no end.
        spent: Returns those that were done so far.
        rollout: What the last rollout took; likewise of an update.
        mark: What was spent when the last update began.
    """

    most: float | None
    spent: Callable[[], float]
    rollout: float = 0.0
    update: float = 0.0
    mark: float | None = None

    def rolled_out(self, before: float) -> None:
        """Note what a rollout took, given what was spent before it."""
        self.rollout = self.spent() - before

    def begins(self) -> None:
        """Note that an update begins."""
        if self.most is not None:
            self.mark = self.spent()

    def reached(self, *, due: bool) -> bool:
        """Whether the end is nearer now than after the next update.

        Args:
            due: Whether a rollout comes before that.
        """
        if self.most is None or self.mark is None:
            return False
        now = self.spent()
        self.update = now - self.mark
        ahead = self.update + (self.rollout if due else 0.0)
        return now + self.rollout + ahead / 2 >= self.most

    @property
    def share(self) -> float:
        """What was spent of it, 0 to 1; 0 without an end."""
        return 0.0 if self.most is None else min(1.0, self.spent() / self.most)

    def to_json(self) -> dict[str, float | None]:
        """Return what a resumed training needs."""
        return {"rollout": self.rollout, "mark": self.mark}
