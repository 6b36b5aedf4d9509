"""The preference losses: what each is, which options it heeds, and its formula.

The formulas are ours, written from the papers over whole-response log-probabilities. Training uses
TRL's; a guard compares the first loss with these, and the tests compare every one of them.

Symbols: a = chosen_logps - ref_chosen_logps, b = rejected_logps - ref_rejected_logps,
z = beta * (a - b), S the logistic function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Literal

from alignstudy.errors import UnknownNameError

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


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One preference loss.

    Attributes:
        summary: One line for `alignstudy list`.
        source: Paper, and equation where it helps.
        formula: (B,) losses from log-probabilities.
        label_smoothing: Whether it is ignored, may be given, or must be above 0.
        f_divergence: Whether a divergence other than reverse KL has a meaning in it.
        beta: Whether beta enters it.
        sorts_batch: Whether it compares pairs of one micro-batch with each other.
    """

    summary: str
    source: str
    formula: Callable[[PairLogps, LossOptions], Floats]
    label_smoothing: Literal["ignored", "optional", "required"] = "ignored"
    f_divergence: bool = False
    beta: bool = True
    sorts_batch: bool = False


def preference_loss(
    names: Sequence[str],
    logps: PairLogps,
    options: LossOptions,
    *,
    weights: Sequence[float] | None = None,
) -> float:
    """Give the mean loss over the pairs: the weighted sum of the named losses.

    Args:
        names: Keys of `LOSSES`.
        weights: One a name; None: 1 each.

    Raises:
        UnknownNameError: If a name is not a loss.
    """
    total = 0.0
    for name, weight in zip(names, weights or [1.0] * len(names), strict=True):
        total += weight * float(loss_named(name).formula(logps, options).mean())
    return total


def at_reference(logps: PairLogps) -> PairLogps:
    """Give the same pairs for a policy that *is* the reference: every log-ratio 0."""
    return replace(logps, chosen=logps.ref_chosen, rejected=logps.ref_rejected)


def loss_named(name: str) -> Loss:
    """Look a loss up.

    Raises:
        UnknownNameError: If there is none of that name; the nearest one is offered.
    """
    if name not in LOSSES:
        raise UnknownNameError("loss_type", name, LOSSES)
    return LOSSES[name]


def _log_sigmoid(x: Floats) -> Floats:
    import numpy as np

    return -np.logaddexp(0.0, -x)


def _sigmoid(x: Floats) -> Floats:
    import numpy as np

    return np.exp(_log_sigmoid(x))


def _ratios(logps: PairLogps, options: LossOptions) -> tuple[Floats, Floats]:
    """Give f'(policy/reference) for chosen and rejected; the log-ratio for reverse KL.

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
    """Give the difference of the per-token means of the two ratios."""
    a, b = _ratios(logps, options)
    return a / logps.chosen_tokens - b / logps.rejected_tokens


def _rewards(logps: PairLogps, options: LossOptions) -> tuple[Floats, Floats]:
    """Give the implicit rewards beta*a and beta*b."""
    a, b = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
    return options.beta * a, options.beta * b


def _sigmoid_loss(logps: PairLogps, options: LossOptions) -> Floats:
    return -_log_sigmoid(_z(logps, options))


def _hinge(logps: PairLogps, options: LossOptions) -> Floats:
    import numpy as np

    return np.maximum(0.0, 1 - _z(logps, options))


def _ipo(logps: PairLogps, options: LossOptions) -> Floats:
    return (_mean_difference(logps, options) - 1 / (2 * options.beta)) ** 2


def _exo_pair(logps: PairLogps, options: LossOptions) -> Floats:
    z, smoothing = _z(logps, options), options.label_smoothing
    chosen = _sigmoid(z) * (_log_sigmoid(z) - log(1 - smoothing))
    return chosen + _sigmoid(-z) * (_log_sigmoid(-z) - log(smoothing))


def _nca_pair(logps: PairLogps, options: LossOptions) -> Floats:
    a, b = _rewards(logps, options)
    return -_log_sigmoid(a) - 0.5 * _log_sigmoid(-a) - 0.5 * _log_sigmoid(-b)


def _robust(logps: PairLogps, options: LossOptions) -> Floats:
    z, flipped = _z(logps, options), options.label_smoothing
    kept = -(1 - flipped) * _log_sigmoid(z) + flipped * _log_sigmoid(-z)
    return kept / (1 - 2 * flipped)


def _bco_pair(logps: PairLogps, options: LossOptions) -> Floats:
    a, b = _rewards(logps, options)
    return -_log_sigmoid(a) - _log_sigmoid(-b)


def _sppo_hard(logps: PairLogps, options: LossOptions) -> Floats:
    a, b = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
    return (a - 0.5 / options.beta) ** 2 + (b + 0.5 / options.beta) ** 2


def _smoothed(z: Floats, options: LossOptions) -> Floats:
    flipped = options.label_smoothing
    return -(1 - flipped) * _log_sigmoid(z) - flipped * _log_sigmoid(-z)


def _aot(logps: PairLogps, options: LossOptions) -> Floats:
    import numpy as np

    policy = np.sort(logps.chosen - logps.rejected)
    return _smoothed(
        options.beta * (policy - np.sort(logps.ref_chosen - logps.ref_rejected)), options
    )


def _aot_unpaired(logps: PairLogps, options: LossOptions) -> Floats:
    import numpy as np

    a, b = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
    return _smoothed(options.beta * (np.sort(a) - np.sort(b)), options)


def _apo_zero(logps: PairLogps, options: LossOptions) -> Floats:
    a, b = _rewards(logps, options)
    return 1 - _sigmoid(a) + _sigmoid(b)


def _apo_down(logps: PairLogps, options: LossOptions) -> Floats:
    a, b = _rewards(logps, options)
    return _sigmoid(a) + 1 - _sigmoid(a - b)


def _discopop(logps: PairLogps, options: LossOptions) -> Floats:
    import numpy as np

    z = _z(logps, options)
    share = _sigmoid(z / options.discopop_tau)
    return (1 - share) * -_log_sigmoid(z) + share * np.exp(-z)


def _sft(logps: PairLogps, options: LossOptions) -> Floats:
    import numpy as np

    return np.full(len(logps.chosen), logps.chosen_nll)


def _sigmoid_norm(logps: PairLogps, options: LossOptions) -> Floats:
    return -_log_sigmoid(options.beta * _mean_difference(logps, options))


LOSSES: Mapping[str, Loss] = {
    "sigmoid": Loss(
        summary="DPO: -log S(z)",
        source="arXiv 2305.18290, eq. 7",
        formula=_sigmoid_loss,
        f_divergence=True,
    ),
    "sigmoid_norm": Loss(
        summary="DPO on per-token means of the log-ratios; wants a larger beta, about 5",
        source="arXiv 2411.15124, section 5.1",
        formula=_sigmoid_norm,
        f_divergence=True,
    ),
    "ipo": Loss(
        summary="IPO, length-averaged as in TRL: (a/tokens - b/tokens - 1/(2 beta))^2, which isn't"
        " the printed equation's sum",
        source="arXiv 2310.12036, eq. 17",
        formula=_ipo,
        f_divergence=True,
    ),
    "hinge": Loss(
        summary="SLiC's hinge on the log-ratios: max(0, 1 - z)",
        source="arXiv 2305.10425; 2309.06657",
        formula=_hinge,
        f_divergence=True,
    ),
    "robust": Loss(
        summary="rDPO: unbiased if a share label_smoothing of the preferences is flipped",
        source="arXiv 2403.00409, eq. 12",
        formula=_robust,
        label_smoothing="required",
        f_divergence=True,
    ),
    "exo_pair": Loss(
        summary="EXO on pairs: reverse KL to smoothed preferences (label_smoothing about 1e-3)",
        source="arXiv 2402.00856, eq. 16",
        formula=_exo_pair,
        label_smoothing="required",
        f_divergence=True,
    ),
    "nca_pair": Loss(
        summary="NCA on pairs: keeps the chosen response likely",
        source="arXiv 2402.05369",
        formula=_nca_pair,
    ),
    "bco_pair": Loss(
        summary="BCO's classifier on pairs without its running reward shift (shift 0)",
        source="arXiv 2404.04656",
        formula=_bco_pair,
    ),
    "sppo_hard": Loss(
        summary="SPPO with hard preferences: squared distance of a, b to +-1/(2 beta)",
        source="arXiv 2405.00675, eq. 4.7",
        formula=_sppo_hard,
    ),
    "aot": Loss(
        summary="AOT: DPO on margins sorted inside the micro-batch (16 rows or more)",
        source="arXiv 2406.05882",
        formula=_aot,
        label_smoothing="optional",
        sorts_batch=True,
    ),
    "aot_unpaired": Loss(
        summary="AOT, unpaired: DPO on log-ratios sorted inside the micro-batch",
        source="arXiv 2406.05882",
        formula=_aot_unpaired,
        label_smoothing="optional",
        sorts_batch=True,
    ),
    "apo_zero": Loss(
        summary="APO-zero: chosen up, rejected down; where chosen beats what the model writes",
        source="arXiv 2408.06266, eq. 7",
        formula=_apo_zero,
    ),
    "apo_down": Loss(
        summary="APO-down: both down, rejected more; where the model writes better than chosen",
        source="arXiv 2408.06266, eq. 8",
        formula=_apo_down,
    ),
    "discopop": Loss(
        summary="DiscoPOP: logistic and exponential loss blended by the margin",
        source="arXiv 2406.08414, eq. 5",
        formula=_discopop,
        f_divergence=True,
    ),
    "sft": Loss(
        summary="likelihood of chosen, a mean over the micro-batch's tokens; added to another loss",
        source="arXiv 2404.19733 (RPO)",
        formula=_sft,
        beta=False,
    ),
}
"""Every `loss_type` of TRL 1.16's DPO; an unknown name is refused with the nearest one."""
