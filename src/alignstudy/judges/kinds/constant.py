"""The judge that can't tell: every response gets the same score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from alignstudy.judges.base import JudgeScore
from alignstudy.progress import SILENT, Progress
from alignstudy.settings import Settings


class ConstantSettings(Settings):
    """What every response gets."""

    use: Literal["constant"] = "constant"
    value: float = Field(0.0, description="The score of every response.")


class ConstantJudge:
    """Scores every response the same: with it, no model may look better than another."""

    name = "constant"
    settings: ClassVar[type[ConstantSettings]] = ConstantSettings

    def __init__(self, value: float) -> None:
        self._value = value

    @classmethod
    def build(cls, settings: ConstantSettings, folder: Path | None, device: str) -> Self:
        """Make the judge; it has no model, so folder and device don't matter."""
        return cls(settings.value)

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs."""
        progress.start("judge", total=len(items))
        progress.advance(len(items))
        progress.finish()
        return [JudgeScore(score=self._value) for _ in items]

    def rendered(self, prompt: str, response: str) -> str:
        """Return what is read of a pair: nothing."""
        return f"constant {self._value}"
