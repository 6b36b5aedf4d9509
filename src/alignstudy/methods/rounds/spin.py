"""Self-play: demonstrations are preferred to what the model writes itself, round after round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.preference import PenalizedSettings
from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings, inner
from alignstudy.settings import Many


class SPINSettings(MakesRows, PenalizedSettings):
    """Self-play fine-tuning (SPIN): chosen responses are preferred to the model's own.

    Rejected responses are not read. In each round the model answers every prompt; DPO then prefers
    the chosen response to that answer, the reference being the model that wrote it. From the second
    round on the round before's answers are trained on as well. Its authors start from SFT, train 3
    to 4 rounds, the last at beta 5, the later ones at a fifth of the learning rate, and find that
    it goes on improving where SFT doesn't. Source: arXiv 2401.01335.
    """

    method: Literal["spin"] = Field(default="spin", description="self-play fine-tuning")
    iterations: int = Field(default=3, ge=1, description="rounds")
    betas: Many[Annotated[float, Field(gt=0)]] | None = Field(
        default=None, description="beta of each round; null: `beta` in all"
    )
    learning_rates: Many[Annotated[float, Field(gt=0, le=1)]] | None = Field(
        default=None, description="peak learning rate of each round; null: `learning_rate` in all"
    )
    sampling: SamplingSettings = SamplingSettings()

    @model_validator(mode="after")
    def _one_a_round(self) -> SPINSettings:
        for name in ("betas", "learning_rates"):
            given = getattr(self, name)
            if given is not None and len(given) != self.iterations:
                raise ValueError(f"{len(given)} {name} for {self.iterations} iterations")
        return self

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Sampling, pairs, DPO against the sampler."""
        return tuple(
            Round(
                training=inner(
                    self,
                    DPOSettings,
                    beta=self.betas[at] if self.betas else self.beta,
                    learning_rate=(
                        self.learning_rates[at] if self.learning_rates else self.learning_rate
                    ),
                ),
                rule="demo_v_sample",
                sampling=self.sampling,
                keeps_last=at > 0,
            )
            for at in range(self.iterations)
        )
