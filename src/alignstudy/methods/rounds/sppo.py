"""Self-play preference optimization: samples' chances to win become their log-ratios' targets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.preference import PenalizedSettings
from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings, inner


class SPPOSettings(MakesRows, PenalizedSettings):
    """Self-play preference optimization (SPPO): log-ratios are pulled to chances to win.

    No response of the data is read, only prompts. A judge scores several samples after each; the
    best one's and the worst one's chances to be preferred to a sample are what their log-ratios are
    pulled to. Each round has prompts of its own, and the last round's model for its reference. Its
    authors take 3 rounds, 5 samples at temperature 0.7 and top_p 0.9, beta 1e-3. The loss `sppo` on
    given pairs is `{method: dpo, loss_type: sppo}`. Source: arXiv 2405.00675.
    """

    method: Literal["sppo"] = Field(default="sppo", description="self-play against a judge")
    beta: float = Field(
        default=1e-3, gt=0, description="targets are chances to win, less a half, over beta"
    )
    iterations: int = Field(default=3, ge=1, description="parts of the prompts, and rounds")
    samples: int = Field(default=5, ge=2, description="responses to each prompt that are scored")
    ranked_by: str | None = Field(
        default=None,
        description="the judge that scores, in log-odds of being preferred; null: the first that"
        " isn't the report's own",
    )
    sampling: SamplingSettings = SamplingSettings(temperature=0.7, top_p=0.9)

    @property
    def rounds(self) -> tuple[Round, ...]:
        """A part's sampling, scoring, pairs with chances, training against the sampler."""
        training = inner(self, DPOSettings, loss_type="sppo")
        return tuple(
            Round(
                training=training,
                slice=(at, self.iterations),
                rule="best_v_worst_with_wins",
                sampling=self.sampling,
                samples=self.samples,
                ranked_by=self.ranked_by or "",
            )
            for at in range(self.iterations)
        )
