"""How judges are evaluated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.settings import Settings


class AssessSettings(Settings):
    """How judges are evaluated."""

    floor: float = Field(
        60.0,
        ge=50.0,
        lt=100.0,
        description="Percent of pairs: an axis whose accuracy interval does not lie above it is"
        " marked in the report.",
    )
    probes: int = Field(50, ge=0, description="Items an axis that control texts are made of.")
    bins: int = Field(10, ge=2, le=100, description="Of the reliability diagram.")
    batch_check: int = Field(16, ge=0, description="Items scored together and one by one.")
    reversed: Literal["refuse", "keep"] = Field(
        "refuse",
        description="A judge that ranks pairs the wrong way round: refuse, or keep and note it.",
    )
    draws: int = Field(2000, ge=100, description="Bootstrap resamples of the control texts.")
    seed: int = Field(0, ge=0, description="Of the draws: items, shuffled words, resamples.")
