"""What a judge is, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from alignstudy.metrics.axes import axis_named
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Axis
from alignstudy.settings import Settings

BOTH = "both"
"""What a judge measures that scores the responses of every axis."""

MAX_INCOMPLETE_SHARE = 0.01
"""An axis with a larger share of responses that a judge gave no score is incomplete."""


@dataclass(frozen=True, kw_only=True)
class JudgeScore:
    """A judge's score of one response.

    Attributes:
        score: Finite; the higher the better. None where the judge gave none.
        failure: Why there is no score; empty otherwise.
        flags: What the judge did not see as it was written: "prompt_trimmed" (beginning left
            out), "response_trimmed" (end left out), "special_token_text" (words that the
            tokenizer would have taken for its special tokens), "replaced_characters" (broken
            Unicode).
    """

    score: float | None
    failure: str = ""
    flags: tuple[str, ...] = ()


class Judge(Protocol):
    """Scores responses.

    Attributes:
        name: Its kind, as the table of judges has it.
    """

    name: str

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs, in their order; each as if it were alone."""

    def rendered(self, prompt: str, response: str) -> str:
        """Return exactly what the judge reads of a pair, flags included.

        Two pairs that are rendered alike get the same `JudgeScore`; scores are kept by it.
        """


def batch_effect(judge: Judge, items: Sequence[tuple[str, str]], *, most: int = 16) -> float:
    """Measure how far scores move with what else is in the batch.

    Args:
        judge: Any judge.
        items: (prompt, response) pairs; the first `most` are scored together, then one by one.
        most: How many to try.

    Returns:
        The largest difference, in the score's unit; 0 where no item has a score.
    """
    together = judge.score(items[:most])
    alone = [judge.score([item])[0] for item in items[:most]]
    pairs = [(a.score, b.score) for a, b in zip(together, alone, strict=True)]
    return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)


def measured_axes(settings: Settings, axes: Sequence[Axis]) -> tuple[str, ...]:
    """Return the axes, of a study's, whose responses a judge of these settings may score.

    Its `measures` names an axis, or `both`: all of them. Rules that look for a manner of response
    measure the axes where that manner is right, and those that say nothing of manners.
    """
    wanted = getattr(settings, "measures", BOTH)
    if wanted == BOTH:
        return tuple(axis.name for axis in axes)
    if getattr(settings, "use", "") == "rules":
        return tuple(axis.name for axis in axes if axis.manner in (wanted, ""))
    return tuple(axis.name for axis in axes if axis.name == axis_named(wanted).name)
