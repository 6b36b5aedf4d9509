"""McNemar's exact test before the data: its power, and the prompts that it needs.

The power is summed over the number of discordant prompts, without approximation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError
from alignstudy.stats.power.planning import ALPHA, POWER, smallest

_NORMAL_FROM = 5_000
"""From so many discordant prompts on, the exact power and the normal differ by under 0.6 points."""


def mcnemar_power(p_win: float, p_loss: float, n: int, *, alpha: float = ALPHA) -> float:
    """Chance that McNemar's exact test finds a difference of two paired rates.

    The number of discordant prompts is binomial (n, p_win + p_loss); given it, the wins are
    binomial too. Both sums are exact but for discordant numbers of probability below 1e-12.

    Args:
        p_win: Probability that only the model succeeds on a prompt.
        p_loss: Probability that only the reference does.
        n: Paired prompts.
        alpha: Two-sided level of the test.

    Returns:
        The power, 0 to 1; the test's true level where p_win equals p_loss.

    Raises:
        MetricError: If the probabilities, `n` or `alpha` are impossible.

    Source: Duffy 1984, "Asymptotic and exact power for the McNemar test and its analogue with R
        controls per case", Biometrics 40, 1005-1015.
    """
    if not 0.0 < alpha < 1.0:
        raise MetricError(f"alpha is {alpha}, not a probability", hint="give one between 0 and 1")
    _check_discordance(p_win, p_loss, n)
    return _Discordant(p_win + p_loss, n, alpha).power(p_win - p_loss)


class _Discordant:
    """The distribution of discordant prompts and the test's critical values, for one design."""

    def __init__(self, discordance: float, n: int, alpha: float) -> None:
        from scipy import special

        spread = 8.0 * math.sqrt(n * discordance * (1.0 - discordance)) + 30.0
        low = max(0, math.floor(n * discordance - spread))
        high = min(n, math.ceil(n * discordance + spread))
        self.discordance = discordance
        self.numbers = np.arange(low, high + 1)
        # Binomial probabilities; exact at a discordance of 0 and 1 too.
        logs = (
            special.gammaln(n + 1.0)
            - special.gammaln(self.numbers + 1.0)
            - special.gammaln(n - self.numbers + 1.0)
            + special.xlogy(self.numbers, discordance)
            + special.xlog1py(n - self.numbers, -discordance)
        )
        masses = np.exp(logs)
        self.weights = np.asarray(masses / masses.sum())
        self.critical = _critical(self.numbers, alpha)

    def power(self, difference: float) -> float:
        """Power at a difference of the two rates, of this discordance."""
        from scipy import special

        if self.discordance == 0.0:
            return 0.0
        share = min(1.0, max(0.0, 0.5 + difference / (2.0 * self.discordance)))
        rejecting = self.critical >= 0
        numbers, critical = self.numbers[rejecting], self.critical[rejecting]
        found = special.bdtr(critical, numbers, share) + special.bdtr(
            critical, numbers, 1.0 - share
        )
        return float(min(1.0, self.weights[rejecting] @ found))


def _critical(numbers: NDArray[np.int64], alpha: float) -> NDArray[np.int64]:
    """Most losses with which the exact test rejects, a discordant number; -1 where none."""
    from scipy import special

    z = NormalDist().inv_cdf(1.0 - alpha / 2.0)
    guess = np.floor(numbers / 2.0 - z * np.sqrt(numbers) / 2.0 + 3.0)
    critical = np.clip(guess, -1, np.maximum(numbers - 1, -1)).astype(np.int64)
    while True:
        tail = special.bdtr(np.maximum(critical, 0), numbers, 0.5)
        too_many = (critical >= 0) & (2.0 * tail > alpha)
        if not too_many.any():
            return critical
        critical = critical - too_many


@dataclass(frozen=True)
class RateDesign:
    """McNemar's exact test at other sizes, in percentage points; see `Design`.

    Attributes:
        discordance: Share of prompts on which only one of the two succeeds, as it was seen; where a
            larger difference is asked about, that difference.
        prompts: Paired prompts.
    """

    discordance: float
    prompts: int

    @property
    def has_seeds(self) -> bool:
        """Whether anything in it was trained several times: it is of models trained once."""
        return False

    @property
    def most(self) -> float:
        """A difference that is large enough to search below."""
        return 100.0

    def power(
        self,
        distance: float,
        *,
        alpha: float = ALPHA,
        prompts: int | None = None,
        seeds: int | None = None,
    ) -> float:
        """Return the chance, 0 to 1, that the test finds a true difference."""
        share = min(1.0, abs(distance) / 100.0)
        return _power(max(self.discordance, share), share, prompts or self.prompts, alpha)


@lru_cache(8192)
def _power(discordance: float, share: float, n: int, alpha: float) -> float:
    """Return the exact power; of very large studies, Connor's normal approximation to it.

    Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample
        design", Biometrics 43, 207-211.
    """
    if n * discordance < _NORMAL_FROM:
        return mcnemar_power(
            (discordance + share) / 2.0, max(0.0, discordance - share) / 2.0, n, alpha=alpha
        )
    normal = NormalDist()
    z = normal.inv_cdf(1.0 - alpha / 2.0)
    spread = math.sqrt(max(discordance - share * share, 1e-12))
    return normal.cdf((share * math.sqrt(n) - z * math.sqrt(discordance)) / spread)


def mcnemar_detectable(discordance: float, n: int) -> float | None:
    """Smallest difference of two paired rates that McNemar's exact test finds.

    Args:
        discordance: Share of prompts on which only one of the two succeeds, 0 to 1.
        n: Paired prompts.

    Returns:
        The difference's size, 0 to `discordance`; None where even all discordant prompts on one
        side are not enough.

    Raises:
        MetricError: If the discordance or `n` is impossible.
    """
    _check_discordance(discordance, 0.0, n)
    design = _Discordant(discordance, n, ALPHA)
    if design.power(discordance) < POWER:
        return None
    return smallest(lambda difference: design.power(difference) >= POWER, most=discordance)


def _check_discordance(p_win: float, p_loss: float, n: int) -> None:
    # A sum of two shares may miss 1 by a rounding error.
    if not (p_win >= 0.0 and p_loss >= 0.0 and p_win + p_loss <= 1.0 + 1e-12) or n < 1:
        raise MetricError(
            f"impossible paired design: {p_win} wins and {p_loss} losses of {n} prompts",
            why="wins and losses are shares of the prompts and don't overlap",
            hint="give two shares whose sum is at most 1, and at least one prompt",
        )
