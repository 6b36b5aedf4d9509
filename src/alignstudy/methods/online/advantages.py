"""How much better each sample, or each of its tokens, is than what was to be expected.

Shapes: P prompts with k samples each; N samples whose tokens are padded to T. A sample that no
judge could score has a score of NaN. `mask` is True at a response's tokens, which follow one
another; what stands elsewhere is never looked at. Float64 in is float64 out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

NONZERO = 1e-4
"""Added to a standard deviation that something is divided by; TRL's."""
WHITE = 1e-6
"""Added to a variance that something is divided by the root of; MOSS-RLHF's."""


def rloo_advantages(scores: Tensor, *, normalize: bool = False) -> Tensor:
    """Return by how much each sample's score is above the mean of its siblings': (P, k).

    Source: arXiv 2402.14740; TRL's RLOOTrainer. A sample without a score and the only
    one with a score are worth 0.

    Args:
        scores: (P, k), the penalty for leaving the reference taken off; see `penalised`.
        normalize: Whether to make mean 0 and standard deviation 1 of all P * k, as TRL does by its
            `normalize_advantages`.
    """
    scored = (~scores.isnan()).sum(dim=1, keepdim=True)
    siblings = (scores.nansum(dim=1, keepdim=True) - scores) / (scored - 1)
    found = torch.where(scored > 1, scores - siblings, scores.new_tensor(torch.nan))
    if normalize:
        found = (found - found.nanmean()) / (_deviation(found.flatten()) + NONZERO)
    return found.nan_to_num(nan=0.0)


def grpo_advantages(
    scores: Tensor, *, scale: Literal["group", "batch", "none"] = "group"
) -> Tensor:
    """Return by how much each sample's score is above its group's mean, in deviations: (P, k).

    Source: arXiv 2402.03300, section 4.1.2; TRL's GRPOTrainer, whose `scale_rewards` is `scale`. A
    sample without a score and the only one with a score are worth 0.

    Args:
        scores: (P, k).
        scale: The standard deviation that is divided by: of a prompt's samples, of all samples
            (arXiv 2508.08221), or none (arXiv 2503.20783).
    """
    found = scores - scores.nanmean(dim=1, keepdim=True)
    if scale == "group":
        found = found / (_deviation(scores) + NONZERO)[:, None]
    elif scale == "batch":
        found = found / (_deviation(scores.flatten()) + NONZERO)
    return found.nan_to_num(nan=0.0)


def penalised(scores: Tensor, old: Tensor, reference: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Return (N,) scores less beta times how much likelier a sample is than under the reference.

    Args:
        scores: (N,).
        old: (N, T) log-probabilities under the policy that sampled.
        reference: (N, T) under the reference.
        mask: (N, T).
        beta: Score points a nat.
    """
    return scores - beta * (old - reference).masked_fill(~mask, 0).sum(dim=1)


def token_rewards(
    old: Tensor, reference: Tensor, mask: Tensor, scores: Tensor, beta: float
) -> Tensor:
    """Return what each token earns: a penalty for leaving the reference; the last, the score too.

    Source: arXiv 2307.04964, equation 19, token by token; MOSS-RLHF's `make_experiences`.

    Args:
        old: (N, T) log-probabilities under the policy that sampled.
        reference: (N, T) under the reference.
        mask: (N, T); empty in the row of a sample that shall earn nothing.
        scores: (N,).
        beta: Score points a nat.

    Returns:
        (N, T), 0 outside of the mask; NaN where an unscored sample's row of the mask isn't empty.
    """
    rewards = (-beta * (old - reference)).masked_fill(~mask, 0)
    return torch.where(_is_last(mask), rewards + scores[:, None], rewards)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Return (N, T) generalised advantages and the returns that values should have foretold.

    Source: arXiv 1506.02438, equation 16. Nothing is expected after a response's last token,
    whether it ended there or was cut, as in MOSS-RLHF and TRLX.

    Args:
        rewards: (N, T) what each token earns.
        values: (N, T) what was expected before each token.
        mask: (N, T).
        gamma: Discount a token, 0 to 1.
        lam: From 0, one step of the critic's error, to 1, the whole rest of the response.

    Returns:
        Advantages, and advantages + values; both 0 outside of the mask.
    """
    zeros = torch.zeros_like(values[:, :1])
    values = values.masked_fill(~mask, 0)
    errors = rewards + gamma * torch.cat([values[:, 1:], zeros], dim=1) - values
    errors = errors.masked_fill(~mask, 0)
    found, following = [], zeros[:, 0]
    for error in reversed(errors.unbind(dim=1)):
        following = error + gamma * lam * following
        found.append(following)
    advantages = torch.stack(found[::-1], dim=1).masked_fill(~mask, 0)
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Return values with mean 0 and (population) variance 1 over the mask, 0 outside of it.

    As MOSS-RLHF's `whiten`, with its 1e-6 in the root.
    """
    number = mask.sum().clamp(min=1)
    centred = (values - values.masked_fill(~mask, 0).sum() / number).masked_fill(~mask, 0)
    return centred * torch.rsqrt((centred**2).sum() / number + WHITE)


def _is_last(mask: Tensor) -> Tensor:
    """Return where a row's last True is."""
    after = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    return mask & ~after


def _deviation(values: Tensor) -> Tensor:
    """Return sample standard deviations along the last dimension; NaN of fewer than two numbers."""
    known = (~values.isnan()).sum(dim=-1)
    squares = ((values - values.nanmean(dim=-1, keepdim=True)) ** 2).nansum(dim=-1)
    return (squares / (known - 1)).sqrt().masked_fill(known < 2, torch.nan)
