"""The baseline judge: the longer, the better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from alignstudy.judges.base import JudgeScore
from alignstudy.progress import SILENT, Progress
from alignstudy.settings import Settings


class LengthSettings(Settings):
    """Nothing to set."""

    use: Literal["length"] = "length"


class LengthJudge:
    """Counts the words of a response: what a judge must beat to be worth its name."""

    name = "length"
    settings: ClassVar[type[LengthSettings]] = LengthSettings

    @classmethod
    def build(cls, settings: LengthSettings, folder: Path | None, device: str) -> Self:
        """Make the judge; it has no model, so folder and device don't matter."""
        return cls()

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs by the response's number of words."""
        progress.start("judge", total=len(items))
        progress.advance(len(items))
        progress.finish()
        return [JudgeScore(score=float(len(response.split()))) for _, response in items]

    def rendered(self, prompt: str, response: str) -> str:
        """Return what is read of a pair: the response."""
        return response
