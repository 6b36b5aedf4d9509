"""The axes of a study file: prompts, judge and threshold of each."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from alignstudy.data.select.prompt_settings import PromptSet
from alignstudy.metrics.axes import axis_named
from alignstudy.settings import Many, Settings, by_axis

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that is safe as a file name."""

AxisName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,31}$")]
"""A name that ends a file's: `<model>_<axis>.json`."""

CALIBRATED: Final = "calibrated"

Limits = dict[str, float | None]
"""One judge's thresholds as numbers, None for none; an axis that isn't there is calibrated."""


class AxisSettings(Settings):
    """One axis: which prompts, who judges the responses, and where a score starts to count."""

    prompts: PromptSet = PromptSet()
    judge: Name | None = Field(
        None, description="Who leads on this axis; left out: the first judge."
    )
    threshold: float | Literal["calibrated"] = Field(
        CALIBRATED, description="In the unit of the axis' judge, or chosen on `calibration` pairs."
    )
    metric: str | None = Field(
        None,
        description="What its pass rate is, by `alignstudy list metrics`; left out: the published"
        " study's rate of that axis, else `pass`.",
    )


class SweepSettings(Settings):
    """The grids of thresholds over which rates are shown: [from, to, step]."""

    axes: dict[str, Many[float]] = Field(
        {},
        description="Axis -> [from, to, step]; left out: from the scores. An axis may also stand"
        " without `axes`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _axes_beside(cls, given: object) -> object:
        return by_axis(cls, "axes", given, list, tuple)

    @model_validator(mode="after")
    def _are_ranges(self) -> SweepSettings:
        for axis, grid in self.axes.items():
            if grid and (len(grid) != 3 or grid[0] >= grid[1] or grid[2] <= 0):
                raise ValueError(f"{axis} must be [from, to, step], from < to and step > 0")
            if grid and (grid[1] - grid[0]) / grid[2] > 1000:
                raise ValueError(f"{axis}: over 1,000 thresholds; take a larger step")
        return self

    def grids(self) -> dict[str, tuple[float, ...]]:
        """Return the thresholds of the axes that have a grid, rounded as scores are."""
        found = {}
        for key, grid in self.axes.items():
            if grid:
                low, high, step = grid
                count = int((high - low) / step + 1e-9) + 1
                steps = tuple(round(low + step * number, 4) for number in range(count))
                found[axis_named(key).name] = steps
        return found


class ThresholdSettings(Settings):
    """Where a score starts to count: numbers, or chosen on labelled pairs."""

    calibrated: bool = Field(
        False,
        description="Whether they are chosen on the `calibration` pairs; `thresholds: calibrated`"
        " says so, too.",
    )
    axes: dict[str, float | None] = Field(
        {}, description="Axis -> number; an axis may also stand beside `calibrated`."
    )
    inclusive: bool = Field(False, description="Whether a score equal to the threshold counts.")
    uncertainty: Literal["beside", "joined"] = Field(
        "beside",
        description="What other calibration pairs would have made of the rates: beside: told beside"
        " their intervals; joined: in them (tests stay those of the thresholds as they are).",
    )
    sweep: SweepSettings = SweepSettings()

    @model_validator(mode="before")
    @classmethod
    def _axes_beside(cls, given: object) -> object:
        if isinstance(given, str):
            raise ValueError("are `calibrated`, or a number for each axis: {AXIS: NUMBER}")
        for key, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, str | list) and key not in cls.model_fields:
                raise ValueError(f"the threshold of '{key}' is a number, not {value!r}")
        return by_axis(cls, "axes", given, int, float, type(None))

    @property
    def numbers(self) -> Limits:
        """Axis -> number, by the axes' names."""
        return {axis_named(key).name: number for key, number in self.axes.items()}
