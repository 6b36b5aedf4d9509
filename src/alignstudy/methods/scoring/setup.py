"""A trainer that wastes nothing: updates in pieces, prompts computed once, no padding scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignstudy.methods.base import TrainingSettings, TrainJob
from alignstudy.methods.batches.pieces import MicroBatchRule, cost_of_a_pass, tokens_in_memory
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.scoring.joined_attention import use_joined_attention
from alignstudy.methods.scoring.shared_forward import Tally, install
from alignstudy.methods.weights.initial import is_noisy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_TOKENS = 16_384
"""Padded tokens of a micro-batch, whatever else is asked: beyond it nothing gets faster."""


def enable_shared_prefixes(
    trainer: Any,  # noqa: ANN401 - a TRL trainer
    job: TrainJob,
    model: PreTrainedModel,
) -> None:
    """Let updates go in pieces and, where log-probabilities are asked for, on shared prefixes.

    Args:
        trainer: Of a class that does its updates `MicroBatching`.
        job: What it is to do.
        model: What it trains, without PEFT's wrapper.
    """
    settings = job.settings
    trainer.tally = Tally()
    if getattr(settings, "packing", False):
        return
    trainer.of_pairs = settings.method in {"dpo", "reward_model"}
    trainer.sums_tokens = not trainer.of_pairs
    on_cpu, scores_texts = job.device == "cpu", settings.method != "reward_model"
    joined = on_cpu and scores_texts and use_joined_attention(model)
    trainer.rule = _rule(settings, model, on_cpu=on_cpu, joined=joined)
    if scores_texts:
        shared = settings.method == "dpo" and shares_prefixes(settings, model)
        trainer.lean = install(model, pairs=shared, flat=joined or not on_cpu, tally=trainer.tally)


def _rule(
    settings: TrainingSettings, model: PreTrainedModel, *, on_cpu: bool, joined: bool
) -> MicroBatchRule:
    """Return how updates are cut: few passes; where rows are padded on a CPU, little padding."""
    asked, config = settings.per_device_train_batch_size, model.config.get_text_config()
    most = settings.effective_batch_size if asked == "auto" else asked
    return MicroBatchRule(
        most_rows=most,
        most_tokens=min(MOST_TOKENS, tokens_in_memory(config)) if joined else MOST_TOKENS,
        fixed_cost=cost_of_a_pass(config) if on_cpu else MOST_TOKENS,
        joined=joined,
        in_order=isinstance(settings, DPOSettings) and settings.in_order,
    )


def shares_prefixes(settings: TrainingSettings, model: PreTrainedModel) -> bool:
    """Whether a pair's prompt is computed once: not where each response has its own noise."""
    return getattr(settings, "prefix_sharing", "off") == "auto" and not is_noisy(model.config)
