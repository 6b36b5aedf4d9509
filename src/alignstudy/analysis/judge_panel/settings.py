"""Which judges speak for an axis together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from alignstudy.records import Axis
from alignstudy.settings import Many, Settings


class PanelSettings(Settings):
    """Judges whose scores are combined, and how."""

    harmlessness: Many[str] = Field((), description="Names of the judges of harmful prompts.")
    helpfulness: Many[str] = Field((), description="Names of the judges of helpful prompts.")
    combine: Literal["mean_z", "rank_mean", "majority"] = Field(
        "mean_z",
        description="mean_z: mean of z-scores fitted on the base model's responses. rank_mean:"
        " mean of the ranks among all models' scores, 0 to 1. majority: share of the judges"
        " whose threshold a response passes.",
    )
    report_each: bool = Field(True, description="Whether each judge is also analysed by itself.")

    @model_validator(mode="after")
    def _members_are_sound(self) -> PanelSettings:
        if not self.harmlessness and not self.helpfulness:
            raise ValueError("a panel names judges: give `harmlessness`, `helpfulness`, or both")
        for key in ("harmlessness", "helpfulness"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names a judge twice: its vote would count double")
        return self

    def members(self, axis: Axis) -> tuple[str, ...]:
        """Return the judges of an axis."""
        return self.harmlessness if axis is Axis.HARMLESS else self.helpfulness

    @staticmethod
    def key(axis: Axis) -> str:
        """Return the field that names the judges of an axis."""
        return "harmlessness" if axis is Axis.HARMLESS else "helpfulness"
