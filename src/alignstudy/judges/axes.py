"""Which axes a judge may score: a judge of refusals can't measure helpfulness."""

from __future__ import annotations

from typing import Literal

from alignstudy.records import Axis
from alignstudy.settings import Settings

Measures = Literal["both", "harmless", "helpful"]

_AXES: dict[str, tuple[Axis, ...]] = {
    "both": (Axis.HARMLESS, Axis.HELPFUL),
    "harmless": (Axis.HARMLESS,),
    "helpful": (Axis.HELPFUL,),
    # A refusal of a harmful prompt is harmless; of a benign one it is over-refusal.
    "refusal": (Axis.HARMLESS,),
    "compliance": (Axis.HELPFUL,),
}


def measured_axes(settings: Settings) -> tuple[Axis, ...]:
    """Return the axes whose responses a judge of these settings may score, by its `measures`."""
    return _AXES[getattr(settings, "measures", "both")]
