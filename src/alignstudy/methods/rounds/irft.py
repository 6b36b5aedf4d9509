"""Implicit reward learning from demonstrations: self-play on one part of the data after another."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.preference import PenalizedSettings
from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings, inner

LINKS = {"sigmoid": "sigmoid", "linear": "irft_linear"}
"""What a margin becomes -> the loss."""


class IRFTSettings(MakesRows, PenalizedSettings):
    """Implicit reward fine-tuning (IRFT): demonstrations against own samples, part by part.

    Rejected responses are not read. The prompts are divided; before each part the current model
    answers its prompts, and is then trained to prefer the chosen responses, being its own
    reference. With one part it is SPIN's first round. Its authors take 5 parts, learning rate 5e-7
    and 2 epochs, and read it as learning the reward that the demonstrations reveal. Source: arXiv
    2405.17888.
    """

    method: Literal["irft"] = Field(default="irft", description="implicit reward fine-tuning")
    iterations: int = Field(default=5, ge=1, description="parts of the data, and rounds")
    link: Literal["sigmoid", "linear"] = Field(
        default="sigmoid",
        description="sigmoid: DPO's loss; linear: -beta (a - b), bounded by the steps alone",
    )
    sampling: SamplingSettings = SamplingSettings()

    @property
    def rounds(self) -> tuple[Round, ...]:
        """A part's sampling, pairs, DPO against the sampler."""
        training = inner(self, DPOSettings, loss_type=LINKS[self.link])
        return tuple(
            Round(
                training=training,
                slice=(at, self.iterations),
                rule="demo_v_sample",
                sampling=self.sampling,
            )
            for at in range(self.iterations)
        )
