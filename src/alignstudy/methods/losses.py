"""The preference losses by name: what each is, where it is from, which options it heeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from alignstudy.errors import UnknownNameError
from alignstudy.methods import loss_formulas as formulas
from alignstudy.methods.loss_formulas import LossOptions, PairLogps

if TYPE_CHECKING:
    from alignstudy.methods.loss_formulas import Floats


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One preference loss.

    Attributes:
        summary: One line for `alignstudy list`.
        source: Paper, and equation where it helps.
        formula: (B,) losses from log-probabilities.
        label_smoothing: Whether it is ignored, may be given, or must be above 0.
        f_divergence: Whether a divergence other than reverse KL has a meaning in it.
        sorts_batch: Whether it compares pairs of one micro-batch with each other.
    """

    summary: str
    source: str
    formula: Callable[[PairLogps, LossOptions], Floats]
    label_smoothing: Literal["ignored", "optional", "required"] = "ignored"
    f_divergence: bool = False
    sorts_batch: bool = False


def preference_loss(
    names: Sequence[str],
    logps: PairLogps,
    options: LossOptions,
    *,
    weights: Sequence[float] | None = None,
) -> float:
    """Return the mean loss over the pairs: the weighted sum of the named losses.

    Args:
        names: Keys of `LOSSES`.
        logps: The pairs' log-probabilities.
        options: The losses' numbers.
        weights: One a name; None: 1 each.

    Raises:
        UnknownNameError: If a name is not a loss.
    """
    total = 0.0
    for name, weight in zip(names, weights or [1.0] * len(names), strict=True):
        if name not in LOSSES:
            raise UnknownNameError("loss_type", name, LOSSES)
        total += weight * float(LOSSES[name].formula(logps, options).mean())
    return total


def at_reference(logps: PairLogps) -> PairLogps:
    """Return the same pairs for a policy that *is* the reference: every log-ratio 0."""
    return replace(logps, chosen=logps.ref_chosen, rejected=logps.ref_rejected)


LOSSES: Mapping[str, Loss] = {
    "sigmoid": Loss(
        summary="DPO: -log S(z)",
        source="arXiv 2305.18290, eq. 7",
        formula=formulas.sigmoid_loss,
        f_divergence=True,
    ),
    "sigmoid_norm": Loss(
        summary="DPO on per-token means of the log-ratios; wants a larger beta, about 5",
        source="arXiv 2411.15124",
        formula=formulas.sigmoid_norm_loss,
        f_divergence=True,
    ),
    "ipo": Loss(
        summary="IPO, length-averaged as in TRL: (a/tokens - b/tokens - 1/(2 beta))^2, which isn't"
        " the printed equation's sum",
        source="arXiv 2310.12036, eq. 17",
        formula=formulas.ipo_loss,
        f_divergence=True,
    ),
    "hinge": Loss(
        summary="SLiC's hinge on the log-ratios: max(0, 1 - z)",
        source="arXiv 2305.10425; 2309.06657",
        formula=formulas.hinge_loss,
        f_divergence=True,
    ),
    "robust": Loss(
        summary="rDPO: unbiased if a share label_smoothing of the preferences is flipped",
        source="arXiv 2403.00409",
        formula=formulas.robust_loss,
        label_smoothing="required",
        f_divergence=True,
    ),
    "exo_pair": Loss(
        summary="EXO on pairs: reverse KL to smoothed preferences (label_smoothing about 1e-3)",
        source="arXiv 2402.00856, eq. 16",
        formula=formulas.exo_pair_loss,
        label_smoothing="required",
        f_divergence=True,
    ),
    "nca_pair": Loss(
        summary="NCA on pairs: keeps the chosen response likely",
        source="arXiv 2402.05369",
        formula=formulas.nca_pair_loss,
    ),
    "bco_pair": Loss(
        summary="BCO's classifier on pairs without its running reward shift (shift 0)",
        source="arXiv 2404.04656",
        formula=formulas.bco_pair_loss,
    ),
    "sppo_hard": Loss(
        summary="SPPO with hard preferences: squared distance of a, b to +-1/(2 beta)",
        source="arXiv 2405.00675, eq. 4.7",
        formula=formulas.sppo_hard_loss,
    ),
    "aot": Loss(
        summary="AOT: DPO on margins sorted inside the micro-batch (16 rows or more)",
        source="arXiv 2406.05882",
        formula=formulas.aot_loss,
        label_smoothing="optional",
        sorts_batch=True,
    ),
    "aot_unpaired": Loss(
        summary="AOT, unpaired: DPO on log-ratios sorted inside the micro-batch",
        source="arXiv 2406.05882",
        formula=formulas.aot_unpaired_loss,
        label_smoothing="optional",
        sorts_batch=True,
    ),
    "apo_zero": Loss(
        summary="APO-zero: chosen up, rejected down; where chosen beats what the model writes",
        source="arXiv 2408.06266, eq. 7",
        formula=formulas.apo_zero_loss,
    ),
    "apo_down": Loss(
        summary="APO-down: both down, rejected more; where the model writes better than chosen",
        source="arXiv 2408.06266, eq. 8",
        formula=formulas.apo_down_loss,
    ),
    "discopop": Loss(
        summary="DiscoPOP: logistic and exponential loss blended by the margin",
        source="arXiv 2406.08414, eq. 5",
        formula=formulas.discopop_loss,
        f_divergence=True,
    ),
    "sft": Loss(
        summary="likelihood of chosen, a mean over the micro-batch's tokens; added to another loss",
        source="arXiv 2404.19733 (RPO)",
        formula=formulas.sft_loss,
    ),
}
"""Every `loss_type` of TRL 1.16's DPO; an unknown name is refused with the nearest one."""
