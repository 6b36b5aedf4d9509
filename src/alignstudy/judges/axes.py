"""Which axes a judge may score: a judge of refusals can't rate answers."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.metrics.axes import axis_named
from alignstudy.records import Axis
from alignstudy.settings import Settings

BOTH = "both"
"""What a judge measures that scores the responses of every axis."""


def measured_axes(settings: Settings, axes: Sequence[Axis]) -> tuple[str, ...]:
    """Return the axes, of a study's, whose responses a judge of these settings may score.

    Its `measures` names an axis, or `both`: all of them. Rules that look for a manner of response
    measure the axes where that manner is right, and those that say nothing of manners.
    """
    wanted = getattr(settings, "measures", BOTH)
    if wanted == BOTH:
        return tuple(axis.name for axis in axes)
    if getattr(settings, "use", "") == "rules":
        return tuple(axis.name for axis in axes if axis.manner in (wanted, ""))
    return tuple(axis.name for axis in axes if axis.name == axis_named(wanted).name)
