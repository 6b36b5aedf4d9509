"""Aggregation fine-tuning: the model learns to write an answer out of drafts, and is asked so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings, inner
from alignstudy.methods.sft import LearnsSettings, SFTSettings


class AFTSettings(MakesRows, LearnsSettings):
    """Aggregation fine-tuning (AFT): SFT on an answer, the model's own drafts in the prompt.

    A model that ends in it is asked in layers: `drafts` samples; in every layer but the last as
    many answers that draw on them; in the last one: drafts * layers + 1 generations. Without a
    better model's answers it learns the data's chosen responses, or the draft that a judge likes
    best, which is rejection sampling with drafts. Its controls are SFT on the same answers, and
    best-of-n at as many generations. Its authors take 5 drafts and 2 layers at temperature 0.7 and
    top_p 0.95. Source: arXiv 2501.11877.
    """

    method: Literal["aft"] = Field(default="aft", description="aggregation fine-tuning")
    drafts: int = Field(default=5, ge=1, description="of each answer")
    layers: int = Field(default=2, ge=1, description="of aggregation, when it is asked")
    answer: Literal["chosen", "best"] = Field(
        default="chosen",
        description="what is learnt: the row's chosen response, or the draft that a judge likes"
        " best",
    )
    ranked_by: str | None = Field(
        default=None,
        description="the judge that chooses the best draft; null: the first that isn't the"
        " report's own",
    )
    sampling: SamplingSettings = SamplingSettings(temperature=0.7, top_p=0.95)

    @model_validator(mode="after")
    def _a_judge_is_heard(self) -> AFTSettings:
        if self.ranked_by is not None and self.answer == "chosen":
            raise ValueError("ranked_by is ignored with answer: chosen: no draft is chosen")
        return self

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Drafts, prompts that show them, SFT."""
        one = Round(
            training=inner(self, SFTSettings),
            rule=f"{self.answer}_of_drafts",
            sampling=self.sampling,
            samples=self.drafts,
            ranked_by=self.ranked_by or "",
        )
        return (one,)
