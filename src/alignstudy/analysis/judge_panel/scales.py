"""Scales on which several judges' scores can be put together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.results import Thresholds
from alignstudy.errors import InputError, MetricError
from alignstudy.records import Axis


def _z(
    judge: str, axis: Axis, values: NDArray[np.float64], known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance from the reference's mean in its standard deviations (n - 1)."""
    if known.size < 2 or np.ptp(known) == 0.0:
        fault = "gives them all the same score" if known.size > 1 else f"scored {known.size}"
        raise MetricError(
            f"panel: no z-score is defined for judge '{judge}' ({axis.name})",
            why=f"of the responses that the scale is fitted on, it {fault}",
            hint="leave it out of the panel, or use `combine: rank_mean` or `majority`",
        )
    scaled: NDArray[np.float64] = (values - known.mean()) / known.std(ddof=1)
    return scaled


def _rank(
    judge: str, axis: Axis, values: NDArray[np.float64], known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the reference's scores below a value, equal ones counting half: 0 to 1."""
    if not known.size:
        raise MetricError(
            f"panel: no rank is defined for judge '{judge}' ({axis.name})",
            why="it scored none of the responses that the scale is fitted on",
            hint="leave it out of the panel, or choose another base",
        )
    ordered = np.sort(known)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return np.where(np.isnan(values), np.nan, (below + up_to) / (2 * known.size))


def _own(
    judge: str, axis: Axis, values: NDArray[np.float64], known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return scores in the judge's own unit: of one judge alone nothing has to be comparable."""
    return values


SCALES = {"mean_z": _z, "rank_mean": _rank, "own": _own}


def votes(
    judge: str, axis: Axis, scores: NDArray[np.float64], thresholds: Thresholds
) -> NDArray[np.float64]:
    """Return 1 where a score passes the judge's own threshold, 0 where not."""
    passed = thresholds.passed(axis.name, scores)
    if passed is None:
        raise InputError(
            f"panel: judge '{judge}' has no threshold for {axis.name}",
            why="a majority counts the judges whose threshold a response passes",
            hint="give or calibrate its threshold, or use another `combine`",
        )
    return np.where(np.isnan(scores), np.nan, passed)
