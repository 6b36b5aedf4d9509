"""Log-probabilities of targets from hidden states: a language model's head.

TRL's fused head never holds all logits, computes them again for the gradients, and measures more
than is shown. Logits of a piece fit into memory: held once, they cost one product less and a third
of the passes over the vocabulary; and how many there are, no GPU is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput

MOST_LOGITS = {"cpu": 2**26, "cuda": 2**28}
"""Logits that are held at once: 256 MiB in float32, on a GPU a GiB. Beyond it TRL's head computes
them in tiles."""

_SCALES = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)
"""Settings of models whose logits are more than a product with the head's weights."""


@dataclass
class Scored(ModelOutput):  # type: ignore[misc]
    """What TRL asks of a scoring pass, in the places of the batch's tokens but the first, (R, T-1).

    Attributes:
        loss: Mean negative log-probability of the targets.
        log_probs: Of the targets, 0 elsewhere.
        is_top1: Whether no token is likelier than a target.
        label_mask: Where a target is.
        log_sum_sq_probs: Log of the sum of the vocabulary's squared probabilities, 0 elsewhere;
            None where it wasn't asked for.
        ref_log_probs: As `log_probs` under the reference, where both are read together; else None.
        kl: KL(reference || policy) over the vocabulary, at the position that predicts each target,
            0 elsewhere; None likewise.
        entropy: NaN: nothing that is shown needs it.
        mean_logits: NaN likewise.
    """

    loss: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    log_sum_sq_probs: torch.Tensor | None = None
    mean_logits: torch.Tensor | None = None
    is_top1: torch.Tensor | None = None
    label_mask: torch.Tensor | None = None
    aux_loss: torch.Tensor | None = None
    ref_log_probs: torch.Tensor | None = None
    kl: torch.Tensor | None = None


class _TargetLogProbs(torch.autograd.Function):
    """(N, H) hidden states, (V, H) weights, (V,) bias or None, (N,) targets -> (N,), (N,) bool.

    And, if `squares`, the (N,) logs of the sums of squared probabilities; they have no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        squares: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        kind = hidden.device.type
        dtype = hidden.dtype
        if torch.is_autocast_enabled(kind):  # products are rounded, sums are not
            dtype = torch.get_autocast_dtype(kind)
        sides = hidden.to(dtype), weight.to(dtype)
        logits = torch.nn.functional.linear(*sides, None if bias is None else bias.to(dtype))
        logits = logits.to(torch.promote_types(dtype, torch.float32))
        wanted = logits.gather(1, targets[:, None])[:, 0]
        highest = logits.amax(1)  # which token's it is, max would tell in ten times the time
        is_top1 = wanted == highest
        shares = logits.sub_(highest[:, None]).exp_()  # where the logits lay
        total = shares.sum(1)
        squared = 2 * (shares.norm(dim=1) / total).log() if squares else None
        ctx.save_for_backward(*sides, targets, total)
        ctx.dtypes = hidden.dtype, weight.dtype
        ctx.shares = shares if any(ctx.needs_input_grad) else None
        ctx.mark_non_differentiable(is_top1, *([] if squared is None else [squared]))
        return wanted - highest - total.log(), is_top1, squared

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> Any:  # noqa: ANN401
        hidden, weight, targets, total = ctx.saved_tensors
        shares, ctx.shares = ctx.shares, None
        # d log p(target) / d logit_v = [v is the target] - p(v)
        of_logits = shares.mul_((-grad / total)[:, None])
        of_logits.scatter_add_(1, targets[:, None], grad[:, None])
        wants, rounded = ctx.needs_input_grad, of_logits.to(hidden.dtype)
        return (
            (rounded @ weight).to(ctx.dtypes[0]) if wants[0] else None,
            (rounded.T @ hidden).to(ctx.dtypes[1]) if wants[1] else None,
            of_logits.sum(0).to(ctx.dtypes[1]) if wants[2] else None,
            None,
            None,
        )


def holds_logits(model: Any, num_targets: int) -> bool:  # noqa: ANN401
    """Return whether so many targets' logits are held at once and scored here.

    Not in mixed precision on a CPU, and not for heads that do more than multiply.
    """
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    plain = isinstance(head, torch.nn.Linear) and all(
        getattr(config, name, None) in (None, 1.0) for name in _SCALES
    )
    if not plain or torch.is_autocast_enabled("cpu"):
        return False
    return num_targets * int(head.weight.shape[0]) <= MOST_LOGITS.get(head.weight.device.type, 0)


def score_targets(
    model: Any,  # noqa: ANN401
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    put: torch.Tensor,
    labels: torch.Tensor,
    squares: bool = False,
) -> Scored:
    """Score targets and put the results into their places.

    Args:
        model: Whose head computes.
        hidden: (N, H) the states that predict the targets.
        targets: (N,) token ids.
        put: (N,) their places in the flattened (R, T-1).
        labels: (R, T) the batch's labels.
        squares: Whether sums of squared probabilities are wanted.
    """
    head = model.get_output_embeddings()
    found: Any = _TargetLogProbs.apply(hidden, head.weight, head.bias, targets, squares)  # type: ignore[no-untyped-call]
    log_probs, is_top1, squared = found
    return as_scored(log_probs, is_top1, put=put, labels=labels, log_sum_sq_probs=squared)


def as_scored(
    log_probs: torch.Tensor,
    is_top1: torch.Tensor,
    *,
    put: torch.Tensor,
    labels: torch.Tensor,
    aux_loss: torch.Tensor | None = None,
    **more: torch.Tensor | None,
) -> Scored:
    """Put (N,) results of targets, `more` by their names, into their places; see `Scored`."""
    unmeasured = torch.full_like(labels[:, 1:], float("nan"), dtype=log_probs.dtype)
    return Scored(
        loss=-log_probs.sum() / max(1, len(put)),
        log_probs=put_back(log_probs, put, labels),
        is_top1=put_back(is_top1, put, labels),
        label_mask=labels[:, 1:] != -100,
        entropy=unmeasured,
        mean_logits=unmeasured,
        aux_loss=aux_loss,
        **{name: put_back(each, put, labels) for name, each in more.items() if each is not None},
    )


def put_back(values: torch.Tensor, put: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return (R, T-1) results, each in the place that it has in the batch, zeros elsewhere.

    What is put behind the last place is dropped.
    """
    shape = (labels.shape[0], labels.shape[1] - 1)
    places = shape[0] * shape[1]
    return values.new_zeros(places + 1).scatter(0, put, values)[:places].view(shape)
