"""In which pieces a training's updates are made, and by which route its model reads texts."""

from __future__ import annotations

from typing import Any

from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.pieces import MicroBatchRule, cost_of_a_pass, tokens_in_memory
from alignstudy.methods.method import Method
from alignstudy.methods.scoring.shared_forward import (
    ScoringRoute,
    Tally,
    install,
    use_joined_attention,
)
from alignstudy.methods.trainer import Trainer
from alignstudy.methods.weights.initial import is_noisy

MOST_TOKENS = 16_384
"""Padded tokens of a micro-batch, whatever else is asked: beyond it nothing gets faster."""


def prepare_updates(trainer: Trainer, job: TrainJob, model: Any) -> None:  # noqa: ANN401
    """Make updates go in pieces, and texts by the leanest route that the method allows.

    The trainer's class does its updates by `MicroBatching`; the model is without PEFT's wrapper.
    """
    settings, method = job.settings, trainer.method
    trainer.tally = Tally()
    if method.packs:
        return
    on_cpu, scores_texts = job.device == "cpu", method.trains == "causal_lm"
    router = settings.router_aux_loss_coef > 0
    joined = on_cpu and scores_texts and not router and use_joined_attention(model)
    asked, config = settings.per_device_train_batch_size, model.config.get_text_config()
    most_tokens = min(MOST_TOKENS, tokens_in_memory(config)) if joined else MOST_TOKENS
    # Few passes; where rows are padded on a CPU, little padding. A row is as long as its longest
    # text: of three as many fit as of two.
    trainer.rule = MicroBatchRule(
        most_rows=settings.effective_batch_size if asked == "auto" else asked,
        most_tokens=2 * most_tokens // max(2, len(method.learnt)),
        fixed_cost=cost_of_a_pass(config) if on_cpu else MOST_TOKENS,
        joined=joined,
        in_order=trainer.objective.couples_rows,
    )
    if scores_texts:
        flat = (joined or not on_cpu) and not router
        sharing = sharing_of(method, model.config)
        trainer.route = ScoringRoute(sharing=sharing, flat=flat, own=router, router=router)
        install(model, trainer.route, tally=trainer.tally)


def sharing_of(method: Method[Any], config: Any) -> int:  # noqa: ANN401 - a PreTrainedConfig
    """Return how many texts are laid out on one prompt; 1 where each response has its own noise."""
    router = method.settings.router_aux_loss_coef > 0
    shares = method.shares_prompts and not router and not is_noisy(config)
    return len(method.learnt) if shares else 1
