"""Preference losses that ask more of models than how likely the responses are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.methods.losses.loss import F, log_s, margin
from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor


def wpo(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """WPO: DPO's loss of a pair, times how likely its responses are for the policy.

    A response's likelihood is exp of the mean log-probability a token, less that of an average
    token of the policy's own; the weight, of both, has no gradient. Pairs that the policy would
    never write count little: off-policy data become more like on-policy ones. `use_weighting` puts
    the same weight on any other loss of pairs by themselves. Losses are small at first where
    responses are unlikely, and a higher learning rate may suit.
    """
    assert p.likelihoods is not None
    return -log_s(margin(p, beta, f)) * p.likelihoods


def tdpo1(p: PairLogps, *, beta: float) -> Tensor:
    """TDPO1: -log S(beta (a - b - (K_r - K_c))), K a response's summed KL from the reference.

    K adds up, over a response's positions, how far the policy's whole distribution has gone from
    the reference's. The margin must outgrow the difference of these distances: rejected responses
    may not be left behind by ruining all of their tokens. Said to keep the policy nearer to the
    reference than DPO. Every step asks the reference, too, and no value of it is kept: a step takes
    about twice DPO's time, with a large vocabulary up to four times (docs/performance.md).
    """
    assert p.chosen_kl is not None
    assert p.rejected_kl is not None
    return -log_s(beta * (p.a - p.b - (p.rejected_kl - p.chosen_kl)))


def tdpo2(p: PairLogps, *, beta: float, tdpo_alpha: float) -> Tensor:
    """TDPO2: -log S(beta (a - b - tdpo_alpha (K_r - K_c))), K_c without gradient; K as in tdpo1.

    Chosen responses are not pushed away for the sake of their distance. The paper's better variant;
    but the command for TDPO2 that its authors released leaves `if_tdpo2: false` as it is, and
    trains TDPO1. They advise TDPO1 at low learning rates.
    """
    assert p.chosen_kl is not None
    assert p.rejected_kl is not None
    apart = p.rejected_kl - p.chosen_kl.detach()
    return -log_s(beta * (p.a - p.b - tdpo_alpha * apart))
