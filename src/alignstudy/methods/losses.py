"""The preference losses by name: pure functions from log-probabilities to one loss a pair.

The function that is read here is the function that trains; TRL's own losses are what the tests
compare it with. What a loss takes beside the pairs are the settings that it heeds, by name: a
setting that no chosen loss takes is refused.

Symbols: a = chosen - ref_chosen, b = rejected - ref_rejected (log-ratios of whole responses),
z = beta * (f(a) - f(b)) with f the identity for reverse KL, S the logistic function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from math import log
from typing import TYPE_CHECKING, Literal

from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
F = Callable[["Tensor"], "Tensor"]
"""f of the divergence from the reference, on log-ratios; see `divergence_of`."""


def divergence_of(kind: Divergence, alpha: float) -> F:
    """Return f'(policy/reference) as a function of the log-ratio; itself for reverse KL.

    Source: arXiv 2309.16240, table 1. `alpha` is TRL's `f_alpha_divergence_coef`: 1 less the
    paper's alpha.
    """
    if kind == "forward_kl":
        return lambda ratio: 1 - (-ratio).exp()
    if kind == "js_divergence":
        return lambda ratio: log(2) + _log_s(ratio)
    if kind == "alpha_divergence" and abs(alpha - 1) >= 1e-6:
        # Beyond e^80 a float32 overflows.
        return lambda ratio: (((alpha - 1) * ratio).clamp(max=80).exp() - 1) * (1 / (alpha - 1))
    return lambda ratio: ratio


def _log_s(x: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid  # settings are read without torch

    return logsigmoid(x)


def _z(p: PairLogps, beta: float, f: F) -> Tensor:
    return beta * (f(p.a) - f(p.b))


def _mean_difference(p: PairLogps, f: F) -> Tensor:
    """Return the difference of the per-token means of the two ratios."""
    return f(p.a) / p.chosen_tokens.clamp(min=1) - f(p.b) / p.rejected_tokens.clamp(min=1)


def _smoothed(z: Tensor, flipped: float) -> Tensor:
    return -_log_s(z) * (1 - flipped) - _log_s(-z) * flipped


def sigmoid(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """DPO: -log S(z)."""
    return -_log_s(_z(p, beta, f))


def hinge(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """SLiC's hinge on the log-ratios: max(0, 1 - z)."""
    return (1 - _z(p, beta, f)).relu()


def ipo(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """IPO, length-averaged as in TRL: (a/tokens - b/tokens - 1/(2 beta))^2, no sum as printed."""
    return (_mean_difference(p, f) - 1 / (2 * beta)) ** 2


def sigmoid_norm(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """DPO on per-token means of the log-ratios; wants a larger beta, about 5."""
    return -_log_s(beta * _mean_difference(p, f))


def robust(p: PairLogps, *, beta: float, f: F, label_smoothing: float) -> Tensor:
    """rDPO: unbiased if a share label_smoothing (below 1/2) of the preferences is flipped."""
    z, flipped = _z(p, beta, f), label_smoothing
    return (-(1 - flipped) * _log_s(z) + flipped * _log_s(-z)) / (1 - 2 * flipped)


def exo_pair(p: PairLogps, *, beta: float, f: F, label_smoothing: float) -> Tensor:
    """EXO on pairs: KL from (S(z), S(-z)) to smoothed preferences (label_smoothing about 1e-3)."""
    z = _z(p, beta, f)
    chosen = z.sigmoid() * (_log_s(z) - log(1 - label_smoothing))
    return chosen + (-z).sigmoid() * (_log_s(-z) - log(label_smoothing))


def nca_pair(p: PairLogps, *, beta: float) -> Tensor:
    """NCA on pairs: keeps the chosen response likely."""
    a, b = beta * p.a, beta * p.b
    return -_log_s(a) - 0.5 * _log_s(-a) - 0.5 * _log_s(-b)


def bco_pair(p: PairLogps, *, beta: float) -> Tensor:
    """BCO's classifier on pairs, without its running reward shift."""
    return -_log_s(beta * p.a) - _log_s(-beta * p.b)


def sppo_hard(p: PairLogps, *, beta: float) -> Tensor:
    """SPPO with hard preferences: squared distance of a, b to +-1/(2 beta)."""
    return (p.a - 0.5 / beta) ** 2 + (p.b + 0.5 / beta) ** 2


def aot(p: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """AOT: DPO on margins sorted inside the micro-batch (16 rows or more)."""
    assert p.ref_chosen is not None
    assert p.ref_rejected is not None
    policy = (p.chosen - p.rejected).sort(dim=0).values
    reference = (p.ref_chosen - p.ref_rejected).sort(dim=0).values
    return _smoothed(beta * (policy - reference), label_smoothing)


def aot_unpaired(p: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """AOT, unpaired: DPO on log-ratios sorted inside the micro-batch."""
    return _smoothed(beta * (p.a.sort(dim=0).values - p.b.sort(dim=0).values), label_smoothing)


def apo_zero(p: PairLogps, *, beta: float) -> Tensor:
    """APO-zero: chosen up, rejected down; where chosen beats what the model writes."""
    return 1 - (beta * p.a).sigmoid() + (beta * p.b).sigmoid()


def apo_down(p: PairLogps, *, beta: float) -> Tensor:
    """APO-down: both down, rejected more; where the model writes better than chosen."""
    return (beta * p.a).sigmoid() + 1 - (beta * (p.a - p.b)).sigmoid()


def discopop(p: PairLogps, *, beta: float, f: F, discopop_tau: float) -> Tensor:
    """DiscoPOP: logistic and exponential loss, blended by S(z / tau)."""
    z = _z(p, beta, f)
    share = (z / discopop_tau).sigmoid()
    return -_log_s(z) * (1 - share) + (-z).exp() * share


def sft(p: PairLogps) -> Tensor:
    """Likelihood of chosen, a mean over the micro-batch's tokens; added to another loss."""
    return (p.chosen_nll.sum() / p.chosen_tokens.sum()).expand(len(p.chosen_nll))


def simpo(p: PairLogps, *, beta: float, simpo_gamma: float) -> Tensor:
    """SimPO: per-token means of the policy alone, with a target margin; no reference."""
    chosen, rejected = p.chosen / p.chosen_tokens, p.rejected / p.rejected_tokens
    return -_log_s(beta * (chosen - rejected) - simpo_gamma)


@dataclass(frozen=True)
class Loss:
    """One preference loss.

    Attributes:
        function: (B,) losses from log-probabilities; its docstring is shown by `alignstudy list`.
        source: Paper, and equation where it helps.
        needs_reference: Whether it compares the policy with a reference.
        couples_rows: Whether it averages over the pairs of one micro-batch ("mean"), or compares
            them by rank ("order": alone in a micro-batch a pair is plain DPO).
        needs: Settings without which it has no meaning.
        defaults: Its own, where the methods' common ones are another loss's.
    """

    function: Callable[..., Tensor]
    source: str
    needs_reference: bool = True
    couples_rows: Literal["", "mean", "order"] = ""
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)

    @property
    def heeds(self) -> frozenset[str]:
        """Names of what it takes beside the pairs; "f" stands for the divergence's settings."""
        return frozenset(signature(self.function).parameters) - {"p"}


_SMOOTHED = ("label_smoothing",)

LOSSES: Mapping[str, Loss] = {
    "sigmoid": Loss(sigmoid, "arXiv 2305.18290, eq. 7"),
    "sigmoid_norm": Loss(sigmoid_norm, "arXiv 2411.15124"),
    "ipo": Loss(ipo, "arXiv 2310.12036, eq. 17"),
    "hinge": Loss(hinge, "arXiv 2305.10425; 2309.06657"),
    "robust": Loss(robust, "arXiv 2403.00409", needs=_SMOOTHED),
    "exo_pair": Loss(exo_pair, "arXiv 2402.00856, eq. 16", needs=_SMOOTHED),
    "nca_pair": Loss(nca_pair, "arXiv 2402.05369"),
    "bco_pair": Loss(bco_pair, "arXiv 2404.04656"),
    "sppo_hard": Loss(sppo_hard, "arXiv 2405.00675, eq. 4.7"),
    "aot": Loss(aot, "arXiv 2406.05882", couples_rows="order"),
    "aot_unpaired": Loss(aot_unpaired, "arXiv 2406.05882", couples_rows="order"),
    "apo_zero": Loss(apo_zero, "arXiv 2408.06266, eq. 7"),
    "apo_down": Loss(apo_down, "arXiv 2408.06266, eq. 8"),
    "discopop": Loss(discopop, "arXiv 2406.08414, eq. 5"),
    "sft": Loss(sft, "arXiv 2404.19733 (RPO)", needs_reference=False, couples_rows="mean"),
    "simpo": Loss(
        simpo,
        "arXiv 2405.14734, eq. 6",
        needs_reference=False,
        defaults={"beta": 2.0, "simpo_gamma": 0.5},
    ),
}
"""Every `loss_type` of TRL 1.16's DPO, and others; an unknown name is refused with the nearest."""
