"""Self-play: demonstrations are preferred to what the model writes itself, round after round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Sampling, pairs, DPO against the sampler.

        Raises:
            ValueError: If there isn't one value a round.
        """
        betas = self.betas or (self.beta,) * self.iterations
        rates = self.learning_rates or (self.learning_rate,) * self.iterations
        for name, given in (("betas", betas), ("learning_rates", rates)):
            if len(given) != self.iterations:
                raise ValueError(f"{len(given)} {name} for {self.iterations} iterations")
        return tuple(
            Round(
                training=inner(self, DPOSettings, beta=beta, learning_rate=rate),
                rule="demo_v_sample",
                sampling=self.sampling,
                keeps_last=at > 0,
            )
            for at, (beta, rate) in enumerate(zip(betas, rates, strict=True))
        )
