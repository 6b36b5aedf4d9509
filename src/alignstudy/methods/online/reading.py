"""What a rollout's tokens are worth to a model: read in pieces, without a gradient, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from alignstudy.methods.loop.updates import rows_of
from alignstudy.methods.scoring.reading import adapter_off
from alignstudy.methods.trainer import Batch, Trainer
from alignstudy.models.batching import run_halving

if TYPE_CHECKING:
    from torch import Tensor


def reference_log_probs(
    trainer: Trainer, batch: Batch, *, note: Callable[[str], None]
) -> Tensor | None:
    """Return what the reference says of a rollout's tokens; None where there is none."""
    if trainer.method.reference == "none":
        return None
    if trainer.reference is not None:
        return log_probs(trainer, trainer.reference, batch, note=note)
    with adapter_off(trainer.model):
        return log_probs(trainer, trainer.model, batch, note=note)


def log_probs(
    trainer: Trainer,
    model: Any,  # noqa: ANN401
    batch: Batch,
    *,
    note: Callable[[str], None],
) -> Tensor:
    """Return the (k P, T) log-probabilities of a rollout's tokens, 0 elsewhere, in nats.

    Args:
        trainer: Whose route is taken, and whose counts grow.
        model: That is asked, in evaluation mode.
        batch: Of the rollout.
        note: Told where memory runs out.
    """
    each, rule = len(trainer.method.branches), trainer.rule
    assert rule is not None
    lengths = batch["attention_mask"].sum(1).view(each, -1).amax(0)
    found = torch.zeros(batch["input_ids"].shape, device=batch["input_ids"].device)

    def ask(places: Sequence[int]) -> list[Tensor]:
        said = trainer.log_probs(model, rows_of(batch, places, each)).float()
        return list(said.view(each, len(places), -1).unbind(1))

    with torch.no_grad(), trainer.autocast():
        for places in rule.cut(lengths.tolist()):
            for place, said in zip(places, run_halving(places, ask, note=note), strict=True):
                found.view(each, -1, found.shape[1])[:, place, 1 : said.shape[1] + 1] = said
    _count(trainer, batch)
    return found


def _count(trainer: Trainer, batch: Batch) -> None:
    each, written = len(trainer.method.branches), batch["completion_mask"]
    prompts = (batch["attention_mask"].sum(1) - written.sum(1)).view(each, -1)[0]
    shared = trainer.route is not None and trainer.route.sharing > 1
    saved = int(prompts.sum()) * (each - 1) if shared else 0
    trainer.measured_tokens += int(batch["attention_mask"].sum()) - saved
    trainer.measured_targets += int(written.sum())
