"""How tables name metrics, and in which order they show them."""

from __future__ import annotations

from alignstudy.formatting import NAMES, RATES
from alignstudy.records import Axis

SCORES = ("score_harmless", "score_helpful")
METRICS = (*RATES, *SCORES)
RATES_CAS_FIRST = ("cas", "hmr", "hpr")
_SHORT_NAMES = {"score_harmless": "Score, harmful", "score_helpful": "Score, helpful"}
_RATE_OF = {Axis.HARMLESS: "HmR", Axis.HELPFUL: "HpR"}


def name_of(metric: str) -> str:
    """Return a metric's name inside a sentence."""
    return NAMES.get(metric, metric)


def title_of(metric: str) -> str:
    """Return a metric's name as a heading."""
    name = name_of(metric)
    return f"{name[:1].upper()}{name[1:]}"


def short_name(metric: str) -> str:
    """Return a metric's name for narrow columns."""
    return _SHORT_NAMES.get(metric, name_of(metric))


def rate_of(axis: Axis) -> str:
    """Return the name of the rate on one axis."""
    return _RATE_OF[axis]
