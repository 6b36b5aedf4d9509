"""Preference losses with a third, gold response, which is learnt beside the pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.methods.losses.loss import log_s, means
from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor


def gold_nll(p: PairLogps) -> Tensor:
    """Return the gold response's mean negative log-likelihood a token."""
    assert p.gold_nll is not None
    assert p.gold_tokens is not None
    return p.gold_nll / p.gold_tokens.clamp(min=1)


def tpo(p: PairLogps, *, beta: float, tpo_alpha: float) -> Tensor:
    """TPO: -log S(beta (c - r)) + tpo_alpha NLL of gold.

    CPO that learns a third response, better than both, in one stage from a base. Said to need less
    data than SFT and DPO, with beta 0.01 and tpo_alpha 1 from a base, 0.05 from a model that had
    SFT. The likelihood is a mean over a response's tokens, then over rows; TRL's is over the
    micro-batch's tokens, which is the same where a micro-batch is one row.
    """
    return -log_s(beta * (p.chosen - p.rejected)) + tpo_alpha * gold_nll(p)


def tpo_l(p: PairLogps, *, beta: float, tpo_l_gamma: float, tpo_alpha: float) -> Tensor:
    """TPO-L: -log S(beta (c / tokens - r / tokens) - tpo_l_gamma) + tpo_alpha NLL of gold.

    TPO on per-token means with a target margin: SimPO that learns a third response. Said to write
    shorter than TPO, with beta 2 to 10; its authors also report beta 0.01, where the comparison
    hardly counts.
    """
    chosen, rejected = means(p)
    return -log_s(beta * (chosen - rejected) - tpo_l_gamma) + tpo_alpha * gold_nll(p)
