"""What an online training is handed: who writes for its policy, and who rewards what was written.

`generation/` and `judges/` stay unknown to trainings: the stage that runs one makes these of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Asked = tuple[Sequence[int], int]
"""A prompt's tokens, and the seed of one sample after it."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the policy wrote.

    Attributes:
        tokens: With the end, where it ended.
        text: As a judge is shown it: cut at the end, stripped.
        ended: Whether the policy ended it; else it was cut at the most tokens.
    """

    tokens: tuple[int, ...]
    text: str
    ended: bool


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """What judges said of samples.

    Attributes:
        scores: One each; None where a judge gave none.
        flops: Arithmetic that it took, had no score been kept from before; None: not known.
    """

    scores: tuple[float | None, ...]
    flops: float | None


class Sampler(Protocol):
    """Writes with a policy as it is now."""

    def __call__(self, policy: Any, asked: Sequence[Asked]) -> list[Sample]:  # noqa: ANN401
        """Return one sample each, in order; the policy is left as it was."""
        ...


Rewarder = Callable[[Sequence[tuple[str, str]]], Rewards]
"""Judges (prompt, response) pairs, in order."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Both, for one training.

    Attributes:
        flops: Returns the arithmetic that a `WorkDone` took; None where it isn't known.
        critic: Folder of the classifier that rewards, where a critic starts as it; else None.
    """

    sample: Sampler
    reward: Rewarder
    flops: Callable[[Any], float | None]
    critic: Path | None = None
