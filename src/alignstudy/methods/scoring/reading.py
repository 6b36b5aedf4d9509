"""From token log-probabilities to what objectives take."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from alignstudy.methods.model_outputs import PairLogps, RatedLogps, TextLogps

if TYPE_CHECKING:
    from torch import Tensor


def text_logps(outputs: Any, batch: Mapping[str, Tensor]) -> TextLogps:  # noqa: ANN401
    """Sum the log-probabilities of each text's targets."""
    seen = batch["labels"][:, 1:] != -100
    return TextLogps(
        nll=-outputs.log_probs.sum(1), targets=seen.sum(1), hits=(outputs.is_top1 * seen).sum(1)
    )


def response_sums(log_probs: Tensor, batch: Mapping[str, Tensor], ld_alpha: float | None) -> Tensor:
    """Sum the log-probabilities of each response: chosen first, then rejected, then others.

    Args:
        log_probs: (R, T-1), 0 off the responses.
        batch: Of the rows; `completion_mask` (R, T).
        ld_alpha: Weight of a response's tokens beyond the pair's shorter one, R being 2B; None: 1.

    Returns:
        (R,) in nats.

    Source:
        `ld_alpha`: LD-DPO, arXiv 2409.06411.
    """
    import torch

    if ld_alpha is None:
        return log_probs.sum(1)
    mask = batch["completion_mask"][:, 1:]
    place, length = mask.cumsum(1), mask.sum(1)
    shorter = torch.minimum(*length.chunk(2)).repeat(2)[:, None]
    shared = (log_probs * ((place > 0) & (place <= shorter))).sum(1)
    return shared + ld_alpha * (log_probs * (place > shorter)).sum(1)


def pair_likelihoods(outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    """Return how likely pairs' responses are for the policy, set against its own samples.

    A token's log-probability is taken less that of an average token that the policy would sample,
    log sum_v p(v)^2; a response's is the mean over its tokens.

    Args:
        outputs: Of the model: `log_probs` and `log_sum_sq_probs` (2B, T-1), 0 off the responses.
        batch: Of the rows; `completion_mask` (2B, T).

    Returns:
        (B,) exp of the sum of both responses' means; no gradient.

    Source:
        WPO, arXiv 2406.11827, eq. 2 and section 3.2; `use_weighting` of TRL.
    """
    aligned = (outputs.log_probs.detach() - outputs.log_sum_sq_probs).sum(1)
    chosen, rejected = (aligned / batch["completion_mask"][:, 1:].sum(1).clamp(min=1)).chunk(2)
    found: Tensor = (chosen + rejected).exp()
    return found


def pair_logps(
    outputs: Any,  # noqa: ANN401
    batch: Mapping[str, Tensor],
    sums: Tensor,
    mismatched: Tensor | None,
    references: Mapping[str, Tensor],
    *,
    branches: int,
) -> PairLogps:
    """Gather what an objective takes.

    Args:
        outputs: Of the model: `log_probs` and `is_top1` (R, T-1), 0 off the responses.
        batch: Of the rows; `completion_mask` (R, T).
        sums: (R,) of `response_sums`.
        mismatched: (B,) likewise, of responses to other prompts.
        references: (B,) each, by column; empty where the objective needs none.
        branches: R / B: 2 for chosen and rejected, 3 for chosen, rejected and gold.
    """
    chosen, rejected, *_ = sums.chunk(branches)
    chosen_nll, _, *gold_nll = (-outputs.log_probs.sum(1)).chunk(branches)
    tokens = batch["completion_mask"][:, 1:].sum(1)
    chosen_tokens, rejected_tokens, *gold_tokens = tokens.chunk(branches)
    return PairLogps(
        chosen=chosen,
        rejected=rejected,
        chosen_tokens=chosen_tokens,
        rejected_tokens=rejected_tokens,
        chosen_nll=chosen_nll,
        chosen_hits=outputs.is_top1.sum(1).chunk(branches)[0],
        gold_nll=gold_nll[0] if gold_nll else None,
        gold_tokens=gold_tokens[0] if gold_tokens else None,
        ref_chosen=references.get("ref_chosen_logps"),
        ref_rejected=references.get("ref_rejected_logps"),
        mismatched=mismatched,
        ref_mismatched=references.get("ref_mismatched_logps"),
        chosen_win=batch.get("chosen_win"),
        rejected_win=batch.get("rejected_win"),
    )


def rated_logps(
    batch: Mapping[str, Tensor],
    sums: Tensor,
    mismatched: Tensor | None,
    references: Mapping[str, Tensor],
) -> RatedLogps:
    """Gather what an objective on rated responses takes; arguments as of `pair_logps`."""
    return RatedLogps(
        response=sums,
        desirable=batch["desirable"],
        ref_response=references["ref_response_logps"],
        mismatched=mismatched,
        ref_mismatched=references.get("ref_mismatched_logps"),
    )


def adapter_off(model: Any) -> AbstractContextManager[None]:  # noqa: ANN401
    """Switch a model's adapter off, if it has one: what is left is what it started from."""
    has_adapter = hasattr(model, "peft_config")
    return model.disable_adapter() if has_adapter else nullcontext()


def unwrapped(model: Any) -> Any:  # noqa: ANN401
    """Return a language model without PEFT's wrapper; its adapter, if any, stays in its layers."""
    return model.get_base_model() if hasattr(model, "peft_config") else model
