"""The preference losses' formulas, written from the papers, over whole-response log-probabilities.

Training uses TRL's; a guard compares the first loss with these, and the tests compare every one.

Symbols: a = chosen_logps - ref_chosen_logps, b = rejected_logps - ref_rejected_logps,
z = beta * (a - b), S the logistic function. Every formula gives (B,) losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]


@dataclass(frozen=True, kw_only=True)
class PairLogps:
    """Log-probabilities of B pairs, natural logarithm, prompts excluded, EOS included.

    Attributes:
        chosen: (B,) summed over the response's tokens, under the policy.
        rejected: (B,) likewise.
        ref_chosen: (B,) under the reference.
        ref_rejected: (B,) likewise.
        chosen_tokens: (B,) tokens of each chosen response.
        rejected_tokens: (B,) likewise.
        chosen_nll: Mean negative log-probability of a chosen token in the whole batch; needed by
            `sft` alone.
    """

    chosen: Floats
    rejected: Floats
    ref_chosen: Floats
    ref_rejected: Floats
    chosen_tokens: Floats
    rejected_tokens: Floats
    chosen_nll: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The numbers that a loss may depend on; names and meaning as in TRL's DPOConfig."""

    beta: float = 0.1
    label_smoothing: float = 0.0
    f_divergence_type: Divergence = "reverse_kl"
    f_alpha_divergence_coef: float = 0.5
    discopop_tau: float = 0.05


def _log_sigmoid(x: Floats) -> Floats:
    import numpy as np

    return -np.logaddexp(0.0, -x)


def _sigmoid(x: Floats) -> Floats:
    import numpy as np

    return np.exp(_log_sigmoid(x))


def _ratios(logps: PairLogps, options: LossOptions) -> tuple[Floats, Floats]:
    """Return f'(policy/reference) for chosen and rejected; the log-ratio for reverse KL.

    Source: arXiv 2309.16240, table 1.
    """
    return (
        _derivative(logps.chosen - logps.ref_chosen, options),
        _derivative(logps.rejected - logps.ref_rejected, options),
    )


def _derivative(log_ratio: Floats, options: LossOptions) -> Floats:
    import numpy as np

    if options.f_divergence_type == "forward_kl":
        return 1 - np.exp(-log_ratio)
    if options.f_divergence_type == "js_divergence":
        return log(2) + _log_sigmoid(log_ratio)
    power = options.f_alpha_divergence_coef - 1
    if options.f_divergence_type == "alpha_divergence" and abs(power) >= 1e-6:
        return np.expm1(power * log_ratio) / power
    return log_ratio


def _z(logps: PairLogps, options: LossOptions) -> Floats:
    a, b = _ratios(logps, options)
    return options.beta * (a - b)


def _mean_difference(logps: PairLogps, options: LossOptions) -> Floats:
    """Return the difference of the per-token means of the two ratios."""
    a, b = _ratios(logps, options)
    return a / logps.chosen_tokens - b / logps.rejected_tokens


def _rewards(logps: PairLogps, options: LossOptions) -> tuple[Floats, Floats]:
    """Return the implicit rewards beta*a and beta*b."""
    a, b = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
    return options.beta * a, options.beta * b


def sigmoid_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """DPO: -log S(z)."""
    return -_log_sigmoid(_z(logps, options))


def hinge_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """max(0, 1 - z)."""
    import numpy as np

    return np.maximum(0.0, 1 - _z(logps, options))


def ipo_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """Squared distance of the per-token mean difference to 1/(2 beta)."""
    return (_mean_difference(logps, options) - 1 / (2 * options.beta)) ** 2


def exo_pair_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """KL from (S(z), S(-z)) to (1 - smoothing, smoothing)."""
    z, smoothing = _z(logps, options), options.label_smoothing
    chosen = _sigmoid(z) * (_log_sigmoid(z) - log(1 - smoothing))
    return chosen + _sigmoid(-z) * (_log_sigmoid(-z) - log(smoothing))


def nca_pair_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """-log S(beta a) - log S(-beta a) / 2 - log S(-beta b) / 2."""
    a, b = _rewards(logps, options)
    return -_log_sigmoid(a) - 0.5 * _log_sigmoid(-a) - 0.5 * _log_sigmoid(-b)


def robust_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """Unbiased for a share of flipped preferences below 1/2."""
    z, flipped = _z(logps, options), options.label_smoothing
    kept = -(1 - flipped) * _log_sigmoid(z) + flipped * _log_sigmoid(-z)
    return kept / (1 - 2 * flipped)


def bco_pair_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """-log S(beta a) - log S(-beta b)."""
    a, b = _rewards(logps, options)
    return -_log_sigmoid(a) - _log_sigmoid(-b)


def sppo_hard_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """(a - 1/(2 beta))^2 + (b + 1/(2 beta))^2."""
    a, b = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
    return (a - 0.5 / options.beta) ** 2 + (b + 0.5 / options.beta) ** 2


def _smoothed(z: Floats, options: LossOptions) -> Floats:
    flipped = options.label_smoothing
    return -(1 - flipped) * _log_sigmoid(z) - flipped * _log_sigmoid(-z)


def aot_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """DPO on sorted policy margins against sorted reference margins."""
    import numpy as np

    policy = np.sort(logps.chosen - logps.rejected)
    reference = np.sort(logps.ref_chosen - logps.ref_rejected)
    return _smoothed(options.beta * (policy - reference), options)


def aot_unpaired_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """DPO on sorted a against sorted b."""
    import numpy as np

    a, b = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
    return _smoothed(options.beta * (np.sort(a) - np.sort(b)), options)


def apo_zero_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """1 - S(beta a) + S(beta b)."""
    a, b = _rewards(logps, options)
    return 1 - _sigmoid(a) + _sigmoid(b)


def apo_down_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """S(beta a) + 1 - S(z)."""
    a, b = _rewards(logps, options)
    return _sigmoid(a) + 1 - _sigmoid(a - b)


def discopop_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """Logistic and exponential loss, blended by S(z / tau)."""
    import numpy as np

    z = _z(logps, options)
    share = _sigmoid(z / options.discopop_tau)
    return (1 - share) * -_log_sigmoid(z) + share * np.exp(-z)


def sft_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """The batch's mean negative log-probability of a chosen token."""
    import numpy as np

    return np.full(len(logps.chosen), logps.chosen_nll)


def sigmoid_norm_loss(logps: PairLogps, options: LossOptions) -> Floats:
    """-log S(beta times the per-token mean difference)."""
    return -_log_sigmoid(options.beta * _mean_difference(logps, options))
