"""Stepwise DPO: one part of the pairs after another, each against the model before it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.pair_losses import PairLossSettings
from alignstudy.methods.rounds.round import MakesRows, Round, inner


class SDPOSettings(MakesRows, PairLossSettings):
    """Stepwise DPO (sDPO): the pairs in parts, the reference being the part before's model.

    With one part it is DPO. A later reference is a better aligned one, which raises the bar that
    the policy has to pass. Its authors take 2 to 3 parts, the easier first. Source: arXiv
    2403.19270.
    """

    method: Literal["sdpo"] = Field(default="sdpo", description="stepwise DPO")
    slices: int = Field(default=2, ge=1, description="parts of the pairs, and rounds")

    @property
    def rounds(self) -> tuple[Round, ...]:
        """DPO on a part, against the model that it starts from."""
        training = inner(self, DPOSettings, reference="parent")
        return tuple(Round(training=training, slice=(at, self.slices)) for at in range(self.slices))
