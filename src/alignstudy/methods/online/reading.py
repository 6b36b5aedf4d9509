"""What a rollout's tokens are worth to a model: read in pieces, without a gradient, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad

from alignstudy.methods.batches.pieces import rows_of
from alignstudy.methods.scoring.reading import adapter_off, unwrapped
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

    def read(piece: Batch) -> Tensor:
        return pad(trainer.log_probs(model, piece), (1, 0))

    found = _by_pieces(trainer, batch, read, note=note)
    trainer.measured_tokens += _positions(trainer, batch)
    trainer.measured_targets += int(batch["completion_mask"].sum())
    return found


def critic_values(trainer: Trainer, batch: Batch, *, note: Callable[[str], None]) -> Tensor | None:
    """Return what the critic foretells before a rollout's tokens; None where there is none."""
    if trainer.critic is None:
        return None
    found = _by_pieces(trainer, batch, trainer.critic.values, note=note)
    trainer.critic.read_tokens += _positions(trainer, batch)
    return found


def _by_pieces(
    trainer: Trainer,
    batch: Batch,
    read: Callable[[Batch], Tensor],
    *,
    note: Callable[[str], None],
) -> Tensor:
    """Return (k P, T) numbers of a rollout's tokens, of the weights' precision."""
    each, rule = len(trainer.method.branches), trainer.rule
    assert rule is not None
    lengths = batch["attention_mask"].sum(1).view(each, -1).amax(0)
    ids, dtype = batch["input_ids"], unwrapped(trainer.model).dtype
    found = torch.zeros(ids.shape, dtype=dtype, device=ids.device)

    def ask(places: Sequence[int]) -> list[Tensor]:
        said = read(rows_of(batch, places, each))
        return list(said.view(each, len(places), -1).unbind(1))

    with torch.no_grad(), trainer.autocast():
        for places in rule.cut(lengths.tolist()):
            for place, said in zip(places, run_halving(places, ask, note=note), strict=True):
                found.view(each, -1, found.shape[1])[:, place, : said.shape[1]] = said
    return found


def _positions(trainer: Trainer, batch: Batch) -> int:
    """Return how many a model reads of a rollout, prompts that are shared once."""
    each, written = len(trainer.method.branches), batch["completion_mask"]
    prompts = (batch["attention_mask"].sum(1) - written.sum(1)).view(each, -1)[0]
    shared = trainer.route is not None and trainer.route.sharing > 1
    saved = int(prompts.sum()) * (each - 1) if shared else 0
    return int(batch["attention_mask"].sum()) - saved
