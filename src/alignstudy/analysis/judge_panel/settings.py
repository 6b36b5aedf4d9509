"""Which judges speak for an axis together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from alignstudy.metrics.axes import axis_named
from alignstudy.settings import Many, Settings, by_axis


class PanelSettings(Settings):
    """Judges whose scores are combined, and how: a list of names for each axis."""

    judges: dict[str, Many[str]] = Field(
        {}, description="Axis -> names of its judges; an axis may also stand beside `combine`."
    )
    combine: Literal["mean_z", "rank_mean", "majority", "own"] = Field(
        "mean_z",
        description="mean_z: mean of z-scores fitted on the base model's responses. rank_mean:"
        " mean of the ranks among all models' scores, 0 to 1. majority: share of the judges"
        " whose threshold a response passes. own: the scores of an axis' one judge as they are.",
    )
    report_each: bool = Field(True, description="Whether each judge is also analysed by itself.")

    @model_validator(mode="before")
    @classmethod
    def _axes_beside(cls, given: object) -> object:
        return by_axis(cls, "judges", given, list, tuple)

    @model_validator(mode="after")
    def _members_are_sound(self) -> PanelSettings:
        if not any(self.judges.values()):
            raise ValueError("a panel names judges: give an axis a list of them")
        for key, names in self.judges.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names a judge twice: its vote would count double")
            if self.combine == "own" and len(names) > 1:
                raise ValueError(f"{key}: of several judges, say how to `combine` them")
        return self

    def members(self, axis: str) -> tuple[str, ...]:
        """Return the judges of an axis."""
        named = {axis_named(key).name: names for key, names in self.judges.items()}
        return named.get(axis, ())
