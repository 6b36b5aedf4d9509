"""How methods are tuned before they are compared: the same number of trials for each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.settings import Many, Settings

MOST_PROMPTS = 100
"""Prompts of an axis, where a study doesn't say how many."""
LEAST_PROMPTS = 5


class TuneSettings(Settings):
    """How every method is tuned: by trials on prompts that nothing else rests on."""

    trials: int = Field(
        6, ge=2, le=50, description="of each method of each chain; the first has its own settings"
    )
    by: str | None = Field(
        None,
        description="the judge whose scores choose; null: the first that isn't the report's own,"
        " where there is one",
    )
    seed: int | None = Field(
        None, ge=0, description="of all trials, none of `seeds`; null: the largest of them and 1"
    )
    grid: Literal["default"] | dict[str, dict[str, Many[float]]] = Field(
        "default",
        description="label -> setting -> values: `trials` combinations, the label's own values"
        " among them; default, and for every other label: learning rates around its own, times"
        " values of its loss that were found good",
    )
    prompts: int | None = Field(
        None,
        ge=LEAST_PROMPTS,
        description="of each axis, from the validation pairs; null: all of them, "
        f"{MOST_PROMPTS} at most",
    )
