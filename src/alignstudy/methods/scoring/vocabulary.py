"""Policy and reference side by side over the whole vocabulary, a few positions at once.

A distance between distributions needs every token's probability under both. Neither model's logits
are held whole: its hidden states are, and its head is applied to some positions at a time, again
for the gradients. The head is the model's own forward behind its layers, whatever that does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from alignstudy.methods.scoring.own_forward import States, head_logits
from alignstudy.methods.scoring.token_scores import Scored, as_scored

MOST_LOGITS_AT_ONCE = 2**24
"""Logits of each model that are held at once: 64 MiB in float32; one position's at least. A pass
forward or backward holds at most five such tensors."""


def compare(
    policy: Any,  # noqa: ANN401
    reference: Any,  # noqa: ANN401
    own: States,
    other: States,
    *,
    labels: torch.Tensor,
    squares: bool = False,
    as_reference: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Scored:
    """Score a batch's targets under both models, and measure how far apart these are.

    Args:
        policy: A causal language model, not its PEFT wrapper; gradients reach its head and `own`.
        reference: Likewise, without gradients; may be the policy.
        own: What the policy's layers made of the batch.
        other: What the reference's did, in the same layout.
        labels: (R, T) the batch's labels.
        squares: Whether the policy's sums of squared probabilities are wanted.
        as_reference: What the reference's head is asked in: where it is the policy's, without its
            adapter.

    Source:
        KL(reference || policy) at each position of a response: arXiv 2404.11999.
    """

    def some(hidden: torch.Tensor, others: torch.Tensor, targets: torch.Tensor) -> Any:  # noqa: ANN401
        log_p = head_logits(policy, hidden).log_softmax(1)
        with torch.no_grad(), as_reference():
            ref = head_logits(reference, others).log_softmax(1)
        wanted = log_p.gather(1, targets[:, None])[:, 0]
        kl = (ref.exp() * (ref - log_p)).sum(1)
        is_top1 = wanted.detach() == log_p.detach().amax(1)
        squared = (2 * log_p.detach()).logsumexp(1) if squares else wanted.new_empty(len(wanted))
        return wanted, is_top1, ref.gather(1, targets[:, None])[:, 0], kl, squared

    size = max(1, MOST_LOGITS_AT_ONCE // policy.get_output_embeddings().weight.shape[0])
    parts = zip(
        *(torch.split(each, size) for each in (own.hidden, other.hidden, own.targets)), strict=True
    )
    if len(own.targets) > size:
        found = [checkpoint(some, *part, use_reentrant=False) for part in parts]
    else:
        found = [some(*part) for part in parts]
    log_probs, is_top1, ref_log_probs, kl, squared = map(torch.cat, zip(*found, strict=True))
    return as_scored(
        log_probs,
        is_top1,
        put=own.put,
        labels=labels,
        aux_loss=own.aux_loss,
        ref_log_probs=ref_log_probs,
        kl=kl,
        log_sum_sq_probs=squared if squares else None,
    )
