"""What online methods minimise: losses of samples, or of their tokens, at the policy as it is now.

Shapes: N samples whose tokens are padded to T; `new` are their log-probabilities under the policy,
`old` those under the policy that sampled, `mask` is True at a response's tokens. What stands
elsewhere is never looked at, and losses there are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

Level = Literal["token", "sequence"]
"""What an importance weight is of: TRL's `importance_sampling_level`."""
LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo"]

AVERAGES_OVER: Mapping[LossType, Literal["samples", "tokens"]] = {
    "grpo": "samples",
    "dr_grpo": "samples",
    "bnpo": "tokens",
    "dapo": "tokens",
}
"""What the sum of `sample_losses` over an update's samples is to be divided by."""


def log_weights(new: Tensor, old: Tensor, mask: Tensor, *, level: Level = "token") -> Tensor:
    """Return log importance weights: (N, T) of tokens, or (N, 1), means over a sample's tokens.

    Source: arXiv 1707.06347, section 3; of whole samples arXiv 2507.18071, equation 7 (GSPO).
    """
    ratios = (new - old).masked_fill(~mask, 0)
    if level == "token":
        return ratios
    return ratios.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def clipped(
    log_weight: Tensor, advantages: Tensor, *, low: float | None, high: float | None
) -> Tensor:
    """Return max(-A w, -A clip(w, 1 - low, 1 + high)), w the importance weight.

    Source: arXiv 1707.06347, equation 7.

    Args:
        log_weight: log w, of any shape.
        advantages: A; of a shape that goes with it.
        low: Below 1 - low, a weight no longer makes its sample less likely; None: it always does.
        high: Above 1 + high, one no longer makes its sample likelier; None: it always does.
    """
    weight = log_weight.exp()
    loss = -advantages * weight
    if low is None and high is None:
        return loss
    bounded = weight.clamp(None if low is None else 1 - low, None if high is None else 1 + high)
    return torch.maximum(loss, -advantages * bounded)


def kl_estimates(new: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return (N, T) estimates e^d - d - 1 of KL(policy || reference), d = log(reference/policy).

    Source: Schulman 2020, "Approximating KL divergence", k3; arXiv 2402.03300, equation 4. Never
    negative.
    """
    ratios = (reference - new).masked_fill(~mask, 0)
    return ratios.expm1() - ratios


def grpo_token_losses(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    epsilon: float | None = 0.2,
    epsilon_high: float | None = None,
    level: Level = "token",
    beta: float = 0.0,
    reference: Tensor | None = None,
) -> Tensor:
    """Return GRPO's (N, T) losses of tokens.

    Source: arXiv 2402.03300, equation 3; TRL's GRPOTrainer.

    Args:
        new: (N, T).
        old: (N, T).
        advantages: (N,) of samples.
        mask: (N, T).
        epsilon: How far below 1 an importance weight counts; None: any weight counts.
        epsilon_high: How far above 1 (arXiv 2503.14476); None: `epsilon`.
        level: What the weights are of.
        beta: Weight of the KL from the reference.
        reference: (N, T) log-probabilities under it; needed where beta isn't 0.
    """
    high = epsilon if epsilon_high is None else epsilon_high
    weights = log_weights(new, old, mask, level=level)
    losses = clipped(weights, advantages[:, None], low=epsilon, high=high)
    if beta:
        assert reference is not None
        losses = losses + beta * kl_estimates(new, reference, mask)
    return losses.expand_as(new).masked_fill(~mask, 0)


def sample_losses(
    token_losses: Tensor, mask: Tensor, *, loss_type: LossType, longest: int
) -> Tensor:
    """Return what each of N samples adds to the sum that `AVERAGES_OVER` tells how to divide.

    "grpo": a mean over its tokens (arXiv 2402.03300); "dr_grpo": its sum over `longest` (arXiv
    2503.20783); "bnpo" and "dapo": its sum (arXiv 2503.14476).

    Args:
        token_losses: (N, T), 0 outside of the mask.
        mask: (N, T).
        loss_type: TRL's name.
        longest: The most tokens that a response may have.
    """
    sums = token_losses.sum(dim=1)
    if loss_type == "grpo":
        return sums / mask.sum(dim=1).clamp(min=1)
    return sums / longest if loss_type == "dr_grpo" else sums


def rloo_losses(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    epsilon: float | None = 0.2,
    epsilon_high: float | None = None,
) -> Tensor:
    """Return RLOO's (N,) losses of whole samples; an update averages over its samples.

    Source: arXiv 2402.14740; clipped as TRL's RLOOTrainer does.

    Args:
        new: (N, T).
        old: (N, T).
        advantages: (N,).
        mask: (N, T).
        epsilon: How far below 1 the importance weight of a whole sample counts; None: any counts.
        epsilon_high: How far above 1; None: `epsilon`.
    """
    high = epsilon if epsilon_high is None else epsilon_high
    return clipped(log_weights(new, old, mask).sum(dim=1), advantages, low=epsilon, high=high)


def policy_losses(
    new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, cliprange: float | None = 0.2
) -> Tensor:
    """Return PPO's (N, T) losses of tokens; an update averages over its response tokens.

    Source: arXiv 1707.06347, equation 7.

    Args:
        new: (N, T).
        old: (N, T).
        advantages: (N, T).
        mask: (N, T).
        cliprange: How far from 1 an importance weight counts; None: any counts.
    """
    weights = log_weights(new, old, mask)
    return clipped(weights, advantages, low=cliprange, high=cliprange).masked_fill(~mask, 0)


def value_losses(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, cliprange: float | None
) -> Tensor:
    """Return the critic's (N, T) losses of tokens; an update averages over its response tokens.

    0.5 * max((v - r)^2, (v' - r)^2), v' the value no further than `cliprange` from the old one.

    Source: MOSS-RLHF's `criterion`, after OpenAI's baselines.

    Args:
        values: (N, T) what the critic expects before each token.
        old_values: (N, T) what it expected when the samples were made.
        returns: (N, T) what it should have expected.
        mask: (N, T).
        cliprange: In units of reward; None: values go as far as they like.
    """
    losses = (values - returns) ** 2
    if cliprange is not None:
        near = old_values + (values - old_values).clamp(-cliprange, cliprange)
        losses = torch.maximum(losses, (near - returns) ** 2)
    return 0.5 * losses.masked_fill(~mask, 0)
