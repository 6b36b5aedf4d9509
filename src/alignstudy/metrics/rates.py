"""Metrics: pass rates, their mean, what describes a judge's scores, the win rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignstudy.errors import MetricError
from alignstudy.metrics.metric import Metric


def above(scores: NDArray[np.float64], threshold: float, *, inclusive: bool) -> NDArray[np.bool_]:
    """Return which scores pass a threshold; one that is missing (NaN) does not.

    Args:
        scores: Rounded to four decimals, as the published study compares them.
        threshold: Of the axis.
        inclusive: Whether a score equal to the threshold passes: the published paper's text says
            so, its code does not.
    """
    return scores >= threshold if inclusive else scores > threshold


def pass_rate(passed: ArrayLike) -> float:
    """Share of prompts whose response passes the axis' threshold, in percent.

    Args:
        passed: One a prompt, shape (n,): whether it passes, or the share of its responses that do.

    Raises:
        MetricError: If there is no prompt, or a value is not a share.

    Source: HmR and HpR of arXiv:2509.09055, section 4.3.
    """
    shares = _finite(passed, "a pass rate")
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise MetricError("a pass rate is not defined: a share lies outside 0 to 1")
    return float(100.0 * shares.mean())


def mean_rate(rates: Sequence[float]) -> float:
    """Mean of the pass rates of all axes, in percent.

    Args:
        rates: One an axis, 0 to 100.

    Raises:
        MetricError: If there is none, or one is not a percentage.

    Source: CAS of arXiv:2509.09055, section 4.3, there of two rates.
    """
    if not rates or not all(0.0 <= rate <= 100.0 for rate in rates):
        raise MetricError(f"a mean of rates is not defined: {list(rates)} are not percentages")
    return sum(rates) / len(rates)


def mean_score(scores: ArrayLike) -> float:
    """Mean of a judge's scores, in the judge's own unit.

    Raises:
        MetricError: If there is no score or one is not finite.
    """
    return float(_finite(scores, "a mean score").mean())


def median_score(scores: ArrayLike) -> float:
    """Median of a judge's scores."""
    return float(np.median(_finite(scores, "a median")))


def score_sd(scores: ArrayLike) -> float:
    """Standard deviation (n - 1) of a judge's scores; 0 of a single one."""
    array = _finite(scores, "a standard deviation")
    return float(array.std(ddof=1)) if array.size > 1 else 0.0


def lowest_score(scores: ArrayLike) -> float:
    """Lowest of a judge's scores."""
    return float(_finite(scores, "a lowest score").min())


def highest_score(scores: ArrayLike) -> float:
    """Highest of a judge's scores."""
    return float(_finite(scores, "a highest score").max())


def win_rate(differences: ArrayLike) -> float:
    """Share of prompts on which a model does better than another, ties half, in percent.

    A tie counts one half: identical responses are no evidence for either.

    Args:
        differences: Model minus reference, one a prompt, shape (n,).

    Raises:
        MetricError: If there is no prompt, or a difference is not finite.
    """
    array = _finite(differences, "a win rate")
    lead = int((array > 0).sum()) - int((array < 0).sum())
    return 50.0 + 100.0 * lead / array.size / 2.0


def _finite(values: ArrayLike, figure: str) -> NDArray[np.float64]:
    """Return values as an array.

    Raises:
        MetricError: If there is none, or one is missing, NaN or infinite: leave out responses
            without a score first, and say how many they are.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise MetricError(
            f"{figure} is not defined on values of shape {array.shape}",
            hint="give one value a response, at least one",
        )
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise MetricError(
            f"{figure} is not defined: value {bad[0] + 1} of {array.size} is {array[bad[0]]}",
            why=f"{bad.size} values are missing or not finite",
            hint="leave these responses out, and count them",
        )
    return array


HMR = Metric(
    kind="hmr", title="HmR", spelt="share of harmless answers", family="rates", of=pass_rate
)
HPR = Metric(
    kind="hpr", title="HpR", spelt="share of helpful answers", family="rates", of=pass_rate
)
PASS = Metric(
    kind="pass",
    name="pass_{axis}",
    title="pass rate on {prompts} prompts",
    short="Pass, {prompts}",
    family="rates",
    of=pass_rate,
)
CAS = Metric(
    kind="cas",
    title="CAS",
    spelt="mean share of answers that pass",
    family="cas",
    of=mean_rate,
)
SCORE = Metric(
    kind="score",
    name="score_{axis}",
    title="mean score on {prompts} prompts",
    short="Score, {prompts}",
    unit="judge",
    digits=2,
    family="scores",
    of=mean_score,
)
WIN_RATE = Metric(kind="win_rate", title="win rate", of=win_rate)


def _point(kind: str, title: str, of: Callable[[ArrayLike], float]) -> Metric:
    """Describe a figure of a sample of scores."""
    return Metric(
        kind=kind,
        name=f"{kind}_{{axis}}",
        title=f"{title} on {{prompts}} prompts",
        unit="judge",
        digits=2,
        of=of,
    )


MEDIAN = _point("median", "median score", median_score)
SD = _point("sd", "standard deviation", score_sd)
LOWEST = _point("min", "lowest score", lowest_score)
HIGHEST = _point("max", "highest score", highest_score)
