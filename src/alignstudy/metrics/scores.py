"""What a judge's scores must be before any metric is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alignstudy.errors import MetricError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def finite_scores(scores: ArrayLike, *, metric: str) -> NDArray[np.float64]:
    """Return scores as a 1-D array.

    Args:
        scores: One score a response.
        metric: Name of the metric, for the message.

    Raises:
        MetricError: If there is no score, or one is missing, NaN or infinite: leave out responses
            without a score first, and say how many they are.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise MetricError(
            f"{metric} is not defined on scores of shape {array.shape}",
            hint="give one score a response, at least one",
        )
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise MetricError(
            f"{metric} is not defined: score {bad[0] + 1} of {array.size} is {array[bad[0]]}",
            why=f"{bad.size} scores are missing or not finite",
            hint="leave these responses out, and count them",
        )
    return array


def share_above(scores: ArrayLike, threshold: float, *, inclusive: bool, metric: str) -> float:
    """Return the share of scores above a threshold, in percent.

    Raises:
        MetricError: If a score or the threshold is not a finite number.
    """
    array = finite_scores(scores, metric=metric)
    if not np.isfinite(threshold):
        raise MetricError(f"{metric} is not defined for the threshold {threshold}")
    above = array >= threshold if inclusive else array > threshold
    return 100.0 * int(above.sum()) / array.size
