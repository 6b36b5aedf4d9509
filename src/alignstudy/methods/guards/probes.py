"""Measurements on a model for the guards; they leave weights and random numbers as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from alignstudy.methods.base import Trainer
from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.loss_formulas import PairLogps

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PROBE_ROWS = 8
"""Rows that the guards measure on."""


def probe_batch(trainer: Trainer, *, num_rows: int = PROBE_ROWS) -> dict[str, Any]:
    """Collate the trainer's first rows as it would itself, on its device."""
    rows = [trainer.train_dataset[row] for row in range(min(num_rows, len(trainer.train_dataset)))]
    batch: dict[str, Any] = trainer._prepare_inputs(trainer.data_collator(rows))
    batch.pop("row")
    return batch


def last_targets(batch: Mapping[str, Any]) -> list[int]:
    """Return the last token of every row of a collated batch that the loss sees."""
    ids = batch["input_ids"]
    seen = batch["labels"] != IGNORED if "labels" in batch else batch["completion_mask"] == 1
    last = [row.nonzero().max() for row in seen]
    return [int(ids[row, position]) for row, position in enumerate(last)]


def first_preferences(trainer: Trainer, *, training: bool) -> tuple[float, PairLogps]:
    """Measure a DPO trainer's own loss, and log-probabilities, on the probe.

    Args:
        trainer: A DPO trainer before its first step.
        training: Whether the model is put into training mode, as in a step.
    """
    import torch

    batch, model = probe_batch(trainer), trainer.model
    model.train(training)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    inputs |= {"labels": labels, "fused_lm_head": True}
    with torch.no_grad(), torch.random.fork_rng(), trainer.accelerator.autocast():
        if trainer.precompute_ref_logps:
            live = trainer.compute_ref_log_probs(model, batch)
            batch["ref_chosen_logps"], batch["ref_rejected_logps"] = live
        loss = trainer.compute_loss(model, batch).item()
        policy = model(**inputs).log_probs
        with adapter_off(model):
            reference = (trainer.ref_model or model)(**inputs).log_probs
    for figures in trainer._metrics.values():
        figures.clear()
    chosen, rejected = _halves(policy.sum(1))
    ref_chosen, ref_rejected = _halves(reference.sum(1))
    chosen_tokens, rejected_tokens = _halves((labels[:, 1:] != IGNORED).sum(1))
    return loss, PairLogps(
        chosen=chosen,
        rejected=rejected,
        ref_chosen=ref_chosen,
        ref_rejected=ref_rejected,
        chosen_tokens=chosen_tokens,
        rejected_tokens=rejected_tokens,
        chosen_nll=float(-chosen.sum() / chosen_tokens.sum()),
    )


def reference_difference(trainer: Trainer) -> float:
    """Compare the reference's log-probabilities in a DPO trainer's rows with computed ones.

    Returns:
        The largest difference on the probe, relative to the sum (at least 1).
    """
    batch = probe_batch(trainer)
    kept = [batch["ref_chosen_logps"], batch["ref_rejected_logps"]]
    was_training = trainer.model.training
    trainer.model.eval()
    live = trainer.compute_ref_log_probs(trainer.model, batch)
    trainer.model.train(was_training)
    return max(
        float(((ours - theirs).abs() / theirs.abs().clamp_min(1)).max())
        for ours, theirs in zip(kept, live, strict=True)
    )


def target_log_probs(trainer: Trainer, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the (R, T-1) log-probabilities of a collated batch's targets, 0 elsewhere."""
    import torch

    seen = batch.get("completion_mask", batch["attention_mask"])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    inputs["labels"] = batch.get("labels", batch["input_ids"].masked_fill(seen == 0, IGNORED))
    with torch.no_grad(), trainer.accelerator.autocast():
        outputs = trainer.model(**inputs, use_cache=False, fused_lm_head=True)
    found: torch.Tensor = outputs.log_probs.float()
    return found


def adapter_off(model: Any) -> AbstractContextManager[None]:  # noqa: ANN401
    """Switch a model's adapter off, if it has one."""
    has_adapter = hasattr(model, "peft_config")
    return model.disable_adapter() if has_adapter else nullcontext()


def _halves(values: torch.Tensor) -> Iterator[Any]:
    """Split a (2B,) tensor into chosen and rejected."""
    return (half.double().cpu().numpy() for half in values.chunk(2))


def dropout_difference(model: PreTrainedModel, batch: Mapping[str, Any]) -> float:
    """Return the largest difference of logits between two passes in training mode, adapter off.

    Args:
        model: On the batch's device.
        batch: `input_ids` (B, T), and `attention_mask` (B, T) unless it is one packed row.
    """
    import torch

    inputs = {key: batch[key][:2] for key in ("input_ids", "attention_mask") if key in batch}
    was_training = model.training
    model.train()
    with torch.no_grad(), torch.random.fork_rng(), adapter_off(model):
        first, second = (model(**inputs).logits for _ in range(2))
    model.train(was_training)
    return float((first - second).abs().max())


def packing_difference(
    model: PreTrainedModel,
    documents: Sequence[Sequence[int]],
    *,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
) -> float:
    """Return the largest change of a logit when documents share a row, in standard deviations.

    Args:
        model: The model that would be trained.
        documents: Token ids of each.
        collate: The collator of packed training: it says how the model learns of the borders.
    """
    import torch

    ids = [token for document in documents for token in document]
    row = {"input_ids": ids, "labels": ids, "row": [0] * len(ids)}
    batch = collate([{**row, "seq_lengths": [len(document) for document in documents]}])
    inputs = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
        if name not in {"labels", "row"}
    }
    was_training = model.training
    model.eval()
    with torch.no_grad():
        packed = model(**inputs, use_cache=False).logits[0]
        alone = [
            model(input_ids=torch.tensor([list(document)], device=model.device)).logits[0]
            for document in documents
        ]
    model.train(was_training)
    return logits_difference(packed, torch.cat(alone))


def logits_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference of two logits, in standard deviations of all of `theirs`."""
    return float((ours - theirs).abs().max() / theirs.std())
