"""Preference losses of a micro-batch: its pairs are compared, averaged or remembered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.methods.losses.loss import log_s, smoothed
from alignstudy.methods.losses.state import LossState
from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 0.9
"""Share of beta-DPO's running figures that a micro-batch leaves as it is (the authors')."""
LEAST_BETA = 1e-3
"""Below it beta-DPO's beta does not fall (the authors')."""


def aot(p: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """AOT: DPO on margins sorted inside the micro-batch (16 rows or more).

    Compares distributions, not pairs: all margins of the policy are to dominate the reference's.
    Alone in a micro-batch a pair is plain DPO.
    """
    assert p.ref_chosen is not None
    assert p.ref_rejected is not None
    policy = (p.chosen - p.rejected).sort(dim=0).values
    reference = (p.ref_chosen - p.ref_rejected).sort(dim=0).values
    return smoothed(beta * (policy - reference), label_smoothing)


def aot_unpaired(p: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """AOT, unpaired: DPO on log-ratios sorted inside the micro-batch (16 rows or more).

    The chosen responses' log-ratios are to dominate the rejected ones', whoever belongs to whom.
    """
    return smoothed(beta * (p.a.sort(dim=0).values - p.b.sort(dim=0).values), label_smoothing)


def running_shift(rewards: Tensor, state: LossState) -> float:
    """Return the mean of all rewards so far, these included: BCO's shift."""
    number = state.values.get("rewards", 0) + rewards.numel()
    before = state.values.get("shift", 0.0)
    shift = before + float((rewards.detach().double() - before).sum()) / number
    state.values.update(rewards=number, shift=shift)
    return shift


def bco(p: PairLogps, *, beta: float, state: LossState) -> Tensor:
    """BCO: -log S(beta a - d) - log S(-(beta b - d)), d the running mean of all beta a, beta b.

    A classifier of single responses whose border moves with the rewards. Said to help where labels
    are thumbs up or down. Its weights for prompts of another distribution are not here.
    """
    import torch

    shift = running_shift(beta * torch.cat([p.a, p.b]), state)
    return -log_s(beta * p.a - shift) - log_s(shift - beta * p.b)


def beta_dpo(
    p: PairLogps, *, beta: float, beta_dpo_alpha: float, beta_dpo_drop: float, state: LossState
) -> Tensor:
    """beta-DPO: -log S(beta' (a - b)), beta' by how far the micro-batch's margins are above usual.

    beta' = beta (1 + beta_dpo_alpha (mean margin - running mean)), at least 0.001; a share
    beta_dpo_drop of the pairs, rather those with unusual margins, is left out. Said to help where
    pairs differ much in quality. Running mean and spread begin with the first micro-batch, not with
    0 as in the authors' code, which then divides 0 by 0.
    """
    margins = p.a - p.b
    at_hand = margins.detach().double().cpu()
    mean, spread = float(at_hand.mean()), float(at_hand.std()) if len(at_hand) > 1 else 0.0
    for name, value in (("mean", mean), ("spread", spread)):
        before = state.values.get(name, value)
        state.values[name] = KEPT * before + (1 - KEPT) * value
    kept = _usual(at_hand, 1 - beta_dpo_drop, state).to(margins.device)
    above = float(at_hand[kept.cpu()].mean()) - state.values["mean"]
    now = max(LEAST_BETA, beta * (1 + beta_dpo_alpha * above))
    return -log_s(now * margins) * kept * (len(margins) / int(kept.sum()))


def _usual(margins: Tensor, share: float, state: LossState) -> Tensor:
    """Draw a share of the margins, those rather that lie near the running mean: (B,) bool.

    Without replacement, by weights exp(-((margin - mean) / spread)^2 / 2): the largest logarithms
    of weights with Gumbel noise (Kool et al. 2019, arXiv 1903.06059).
    """
    import torch

    kept = torch.ones(len(margins), dtype=torch.bool)
    number = max(1, int(share * len(margins)))
    spread = state.values["spread"]
    if number == len(margins) or spread == 0:
        return kept
    log_weights = -0.5 * ((margins - state.values["mean"]) / spread) ** 2
    noise = torch.rand(len(margins), generator=state.generator(), dtype=torch.float64)
    drawn = (log_weights - (-noise.log()).log()).topk(number).indices
    return torch.zeros(len(margins), dtype=torch.bool).scatter(0, drawn, True)
