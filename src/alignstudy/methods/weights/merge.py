"""An adapter merged into its base: full weights that compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.errors import InputError
from alignstudy.methods.guards.checks import merge_is_faithful
from alignstudy.methods.guards.probes import logits_difference
from alignstudy.methods.loop.quiet import quiet_libraries
from alignstudy.methods.weights.save import copy_tokenizer
from alignstudy.models.load import load_causal_lm
from alignstudy.records import GuardOutcome, Weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def merge_adapter(weights: Weights, out: Path) -> GuardOutcome:
    """Merge an adapter into its base in float32 and save full weights, tokenizer included.

    Args:
        weights: An adapter with its base.
        out: Empty existing folder to fill.

    Raises:
        InputError: If the weights are no adapter.
        GuardError: If the adapter belongs to another base, or merging changes what is computed.
    """
    if weights.base is None:
        raise InputError(f"{weights.folder} is no adapter: there is nothing to merge")
    with quiet_libraries():
        adapted = load_causal_lm(weights)
        tokens = _probe_tokens(adapted)
        before = _logits(adapted, tokens)
        merged = adapted.merge_and_unload(safe_merge=True)
        outcome = merge_is_faithful(logits_difference(_logits(merged, tokens), before))
        merged.save_pretrained(out)
    copy_tokenizer(weights.base, out)
    return outcome


def _probe_tokens(model: PreTrainedModel) -> torch.Tensor:
    """Return (1, T) token ids spread over the vocabulary."""
    import torch

    return torch.linspace(0, model.config.vocab_size - 1, 32).long()[None]


def _logits(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return model(input_ids=tokens).logits  # type: ignore[no-any-return]
