"""Preference optimization on the model's own samples, ranked by a judge, round after round."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.pair_losses import PairLossSettings
from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings, inner


class IterativeDPOSettings(MakesRows, PairLossSettings):
    """Iterative DPO: a judge ranks the model's own samples, the best is preferred to the worst.

    No response of the data is read, only prompts. With many rounds it is online DPO. Any loss of
    `alignstudy list losses` on pairs may take DPO's place. Its authors take 3 rounds, 4 to 8
    samples, and a reference that stays. What the judge rewards by mistake is learnt with the rest:
    let another judge report. Source: arXiv 2405.07863, arXiv 2402.04792.
    """

    method: Literal["iterative_dpo"] = Field(
        default="iterative_dpo", description="preference optimization on own samples"
    )
    iterations: int = Field(default=3, ge=1, description="rounds")
    prompts: Literal["all", "new"] = Field(
        default="new",
        description="new: each round has a part of the prompts for itself; all: all, every round",
    )
    samples: int = Field(default=4, ge=2, description="responses to each prompt that are ranked")
    ranked_by: str | None = Field(
        default=None,
        description="the judge that ranks; null: the first that isn't the report's own",
    )
    reference: Literal["last", "start"] = Field(
        default="start",
        description="whose log-probabilities the policy's are compared with: the model that wrote"
        " the round's samples, or the one before the first round",
    )
    sampling: SamplingSettings = SamplingSettings()

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Sampling, ranking, pairs, training."""
        training = inner(self, DPOSettings, reference="parent")
        parts = self.iterations if self.prompts == "new" else 1
        return tuple(
            Round(
                training=training,
                slice=(at % parts, parts),
                rule="best_v_worst",
                sampling=self.sampling,
                samples=self.samples,
                ranked_by=self.ranked_by or "",
                reference=self.reference,
            )
            for at in range(self.iterations)
        )
