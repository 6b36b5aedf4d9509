"""Rejection sampling: the model learns the sample that a judge likes best."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings, inner
from alignstudy.methods.sft import LearnsSettings, SFTSettings


class BestOfNSettings(MakesRows, LearnsSettings):
    """Best-of-n fine-tuning (RAFT, rejection sampling): SFT on the sample that a judge likes best.

    No response of the data is read, only prompts. The control for every method that samples: what a
    judge and sampling give without comparing anything. Some 4 to 8 samples are usual. Source: arXiv
    2304.06767.
    """

    method: Literal["best_of_n"] = Field(default="best_of_n", description="rejection sampling")
    iterations: int = Field(default=1, ge=1, description="rounds, each with all prompts")
    samples: int = Field(default=4, ge=2, description="responses to each prompt that are scored")
    ranked_by: str | None = Field(
        default=None,
        description="the judge that chooses; null: the first that isn't the report's own",
    )
    sampling: SamplingSettings = SamplingSettings()

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Sampling, choosing, SFT on what was chosen."""
        one = Round(
            training=inner(self, SFTSettings),
            rule="best_of_n",
            sampling=self.sampling,
            samples=self.samples,
            ranked_by=self.ranked_by or "",
        )
        return (one,) * self.iterations
