"""The rule by which numbers become a verdict; no wording, no data.

A comparison claim, over the judges that are valid on its axis:

- *supported*: with every one of them Holm's p < 0.05 and the interval lies beyond the margin in the
  claimed direction;
- *contradicted*: with every one of them Holm's p < 0.05 and the interval lies on the other side of
  no difference;
- *equivalent*: a claim of equivalence, or one with a margin, where every judge's equivalence test
  at that margin rejects at 5 %;
- *underpowered*: else, if every judge's difference points as claimed (beyond the margin) and one
  that doesn't show it has less than 80 % power to; the number of prompts for 80 % is given;
- *not supported*: else.

A claim of several parts is contradicted if one part is, unmeasurable if one can't be measured,
supported if all are (equivalent ones count for claims of equivalence), not supported if one part
is not, and else underpowered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.results import Comparison
from alignstudy.records import Estimate
from alignstudy.stats.power.planning import ALPHA, POWER, crossing

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class JudgeEvidence:
    """What one judge's scores say of a pair, turned so that a positive difference is as claimed.

    Attributes:
        judge: Whose scores.
        pair: The comparison; its `model` is the one that is claimed to be higher.
        num_sets: Prompt sets that the figure rests on.
        p_equivalent: Of the equivalence test at the claim's margin; None if it has none, or the
            test is not defined.
    """

    judge: str
    pair: Comparison
    num_sets: int
    p_equivalent: float | None = None

    @property
    def is_equivalent(self) -> bool:
        """Whether the two are within the claim's margin."""
        return self.p_equivalent is not None and self.p_equivalent < ALPHA

    def supports(self, margin: float) -> bool:
        """Return whether the difference is shown to be beyond the margin."""
        return self.pair.is_shown and self.pair.difference.low > margin

    @property
    def contradicts(self) -> bool:
        """Whether the difference is shown to be the other way round."""
        return self.pair.is_shown and self.pair.difference.high < 0.0


@dataclass(frozen=True)
class Ruling:
    """A verdict without its words."""

    verdict: str
    n_needed: int | None = None


def rule_better(sights: Sequence[JudgeEvidence], margin: float) -> Ruling:
    """Judge that one model is better than another by more than a margin."""
    if all(sight.supports(margin) for sight in sights):
        return Ruling("supported")
    if all(sight.contradicts for sight in sights):
        return Ruling("contradicted")
    if margin > 0.0 and all(sight.is_equivalent for sight in sights):
        return Ruling("equivalent")
    weak = [sight for sight in sights if not sight.supports(margin)]
    if any(sight.pair.difference.value <= margin for sight in sights) or all(
        power_of(sight.pair, margin) >= POWER for sight in weak
    ):
        return Ruling("not supported")
    needed = (prompts_needed(sight, margin) for sight in weak)
    return Ruling("underpowered", max((n for n in needed if n is not None), default=None))


def rule_equivalent(sights: Sequence[JudgeEvidence], margin: float) -> Ruling:
    """Judge that two models are within a margin of each other."""
    if all(sight.is_equivalent for sight in sights):
        return Ruling("equivalent")
    if all(
        sight.pair.is_shown
        and (sight.pair.difference.low > margin or sight.pair.difference.high < -margin)
        for sight in sights
    ):
        return Ruling("contradicted")
    if any(abs(sight.pair.difference.value) >= margin for sight in sights):
        return Ruling("not supported")
    needed: list[int | None] = []
    for sight in (sight for sight in sights if not sight.is_equivalent):
        if sight.pair.p_value is None:
            needed.append(None)
        elif equivalence_power(sight.pair.difference, margin) < POWER:
            needed.append(_equivalence_prompts(sight, margin))
    if not needed:
        return Ruling("not supported")
    return Ruling("underpowered", max((n for n in needed if n is not None), default=None))


def power_of(pair: Comparison, margin: float) -> float:
    """Return the chance, 0 to 1, of showing the observed difference to be beyond the margin.

    0 where there are too few prompts for a test. With a margin: by the normal distribution, from
    the width of the interval.
    """
    if pair.p_value is None:
        return 0.0
    if margin == 0.0 and pair.power is not None:
        return pair.power.power / 100.0
    error = _error(pair.difference)
    return _reached(pair.difference.value - margin, error, ALPHA / 2.0)


def prompts_needed(sight: JudgeEvidence, margin: float) -> int | None:
    """Return the paired prompts (a set, for CAS) for 80 % power; None if no test was made."""
    pair = sight.pair
    if pair.p_value is None:
        return None
    if margin == 0.0 and pair.power is not None:
        return pair.power.n_needed
    distance = pair.difference.value - margin
    if distance <= 0.0:
        return None
    reach = _NORMAL.inv_cdf(1.0 - ALPHA / 2.0) + _NORMAL.inv_cdf(POWER)
    times = reach * _error(pair.difference) / distance
    return math.ceil(pair.n / sight.num_sets * times**2)


def equivalence_power(estimate: Estimate, margin: float, *, times: float = 1.0) -> float:
    """Return the chance, 0 to 1, that both one-sided tests reject at the observed difference.

    By the normal distribution, from the width of the interval. Near no difference either test may
    fail, so that this is well below the power of the nearer one alone.

    Args:
        estimate: The difference with its interval.
        margin: Of equivalence, in the same unit.
        times: As many prompts as this, over those that the estimate rests on.

    Source: Julious 2004, doi:10.1002/sim.1783, on trials of equivalence.
    """
    error, size = _error(estimate) / math.sqrt(times), abs(estimate.value)
    near, far = (_reached(distance, error, ALPHA) for distance in (margin - size, margin + size))
    return max(0.0, near + far - 1.0)


def _equivalence_prompts(sight: JudgeEvidence, margin: float) -> int:
    """Return the paired prompts (a set, for CAS) at which equivalence is shown with 80 % power."""
    now = sight.pair.n / sight.num_sets
    return crossing(
        lambda n: equivalence_power(sight.pair.difference, margin, times=n / now) >= POWER,
        start=math.ceil(now),
    )


def _reached(distance: float, error: float, level: float) -> float:
    """Return the power of a one-sided normal test at some level."""
    if error == 0.0:
        return 1.0 if distance > 0.0 else 0.0
    return _NORMAL.cdf(distance / error - _NORMAL.inv_cdf(1.0 - level))


def _error(estimate: Estimate) -> float:
    """Return the standard error that an interval's width stands for."""
    return (estimate.high - estimate.low) / (2.0 * _NORMAL.inv_cdf(0.5 + estimate.level / 2.0))


def rule_bound(estimate: Estimate, at_least: float | None, at_most: float | None) -> Ruling:
    """Judge that a figure lies within bounds: false in the sample is contradicted.

    True in the sample is supported only if the whole interval lies within the bounds; else the
    prompts are given at which it would with 80 % power.
    """
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if not low <= estimate.value <= high:
        return Ruling("contradicted")
    if low <= estimate.low and estimate.high <= high:
        return Ruling("supported")
    needed = []
    z = _NORMAL.inv_cdf(0.5 + estimate.level / 2.0)
    for room, reach in (
        (estimate.value - low, estimate.value - estimate.low),
        (high - estimate.value, estimate.high - estimate.value),
    ):
        if room <= 0.0 < reach:  # no number of prompts takes the interval off this bound
            return Ruling("not supported")
        if room < reach:
            times = ((z + _NORMAL.inv_cdf(POWER)) / z * reach / room) ** 2
            needed.append(math.ceil(estimate.n * times))
    return Ruling("underpowered", max(needed))


def conjunction(parts: Sequence[Verdict]) -> Ruling:
    """Judge a claim that holds if all of its parts do."""
    found = [part.verdict for part in parts]
    for name in ("contradicted", "unmeasurable", "not supported", "underpowered"):
        if name in found:
            needed = [part.n_needed for part in parts if part.n_needed is not None]
            return Ruling(name, max(needed) if needed and name == "underpowered" else None)
    return Ruling("equivalent" if "equivalent" in found else "supported")
