"""One update of the optimizer, done in pieces: mixed into TRL's trainers by `trl_adapter`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from alignstudy.errors import EnvironmentFault
from alignstudy.methods.base import Trainer, TrainJob
from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.batches.pieces import MicroBatchRule, cost_of_a_pass, tokens_in_memory
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.scoring.shared_forward import (
    SharedPrefixConfig,
    Tally,
    install,
    use_joined_attention,
)
from alignstudy.methods.weights.initial import is_noisy
from alignstudy.models.batching import is_out_of_memory

MOST_TOKENS = 16_384
"""Padded tokens of a micro-batch, whatever else is asked: beyond it nothing gets faster."""

_PER_ROW = {"ref_chosen_logps", "ref_rejected_logps"}
"""Columns (B,) of a batch of pairs; all others are (R, T)."""

_BY_TOKENS = {
    "entropy": "tokens",
    "mean_token_accuracy": "chosen_tokens",
    "logits/chosen": "chosen_tokens",
    "logits/rejected": "rejected_tokens",
}
_EXTREMES = {"min_reward": min, "max_reward": max}


class MicroBatching:
    """Makes a step of the trainer's batch in pieces; the trainer sees one batch an update.

    Attributes:
        rule: How to cut; None: the batch as it comes (packed rows).
        of_pairs: Whether the first half of a batch's rows are chosen, the second rejected.
        sums_tokens: Whether the loss is a sum over the update's tokens, divided by their number;
            else a mean over rows.
        lean: How the model lays batches out; None: as TRL does.
        tally: What training passes computed.
        rows_read: Rows (pairs) that updates were made of.
        pieces_done: Passes forward and backward.
        halvings: How often memory ran out.
        checkpoints_layers: Whether layers are computed again for their gradients.
        real_tokens: Tokens of all rows that were read.
        padded_tokens: Positions of all pieces as collated.
    """

    rule: MicroBatchRule | None = None
    of_pairs: bool = False
    sums_tokens: bool = False
    lean: SharedPrefixConfig | None = None
    tally: Tally
    rows_read: int = 0
    pieces_done: int = 0
    halvings: int = 0
    checkpoints_layers: bool = False
    real_tokens: int = 0
    padded_tokens: int = 0
    _total_train_tokens: Any

    def training_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, Any],
        num_items_in_batch: Any = None,  # noqa: ANN401
    ) -> torch.Tensor:
        """Add an update's gradients up; begin again in smaller pieces where memory runs out."""
        mask = inputs.get("attention_mask")
        self.real_tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        if self.rule is None:
            return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc, no-any-return]
        model.train()
        inputs = self._prepare_inputs(inputs)  # type: ignore[attr-defined]
        state = torch.get_rng_state()
        on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        read_before, tally_before = self._total_train_tokens, replace(self.tally)
        while True:
            try:
                return self._all_pieces(model, inputs, num_items_in_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._smaller(model, error)
            # Only here, with the failed pass forgotten, is there memory to give back.
            model.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.set_rng_state_all(on_gpu)
            torch.set_rng_state(state)
            self._total_train_tokens = read_before
            vars(self.tally).update(vars(tally_before))  # the model's forward holds this object

    def _all_pieces(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, Any],
        num_items: Any,  # noqa: ANN401 - None: TRL's preference losses are means
    ) -> torch.Tensor:
        assert self.rule is not None
        lengths = inputs["attention_mask"].sum(1)
        if self.of_pairs:
            lengths = torch.maximum(*lengths.chunk(2))
        cut = self.rule.cut(lengths.tolist())
        pieces = [_piece(inputs, rows, pairs=self.of_pairs) for rows in cut]
        rows = sum(weights["rows"] for _, weights in pieces)
        if self.sums_tokens:
            num_items = torch.tensor(sum(weights["tokens"] for _, weights in pieces))
        total = torch.zeros((), device=inputs["input_ids"].device)
        outer = self._metrics["train"]  # type: ignore[attr-defined]
        found = []
        try:
            for batch, weights in pieces:
                self._metrics["train"] = defaultdict(list)  # type: ignore[attr-defined]
                with self.compute_loss_context_manager():  # type: ignore[attr-defined]
                    loss = self.compute_loss(model, batch, num_items_in_batch=num_items)  # type: ignore[attr-defined]
                if not self.sums_tokens:
                    loss = loss * (weights["rows"] / rows)
                self.accelerator.backward(loss)  # type: ignore[attr-defined]
                total = total + loss.detach()
                found.append((self._metrics["train"], weights))  # type: ignore[attr-defined]
        finally:
            self._metrics["train"] = outer  # type: ignore[attr-defined]
        self.padded_tokens += sum(batch["input_ids"].numel() for batch, _ in pieces)
        self.rows_read, self.pieces_done = self.rows_read + rows, self.pieces_done + len(pieces)
        for name, value in _combined(found).items():
            outer[name] = [value] if name == "num_tokens" else [*outer[name], value]
        return total

    def _smaller(self, model: Any, error: BaseException) -> None:  # noqa: ANN401
        """Halve the pieces; where that can't be, compute layers again instead of keeping them.

        Raises:
            EnvironmentFault: If nothing is left to save.
        """
        assert self.rule is not None
        smaller = self.rule.halved()
        self.halvings += 1
        if smaller is not None:
            self.rule = smaller
        elif not self.checkpoints_layers:
            model.activation_checkpointing_enable({"use_reentrant": False})
            self.checkpoints_layers = True
        else:
            raise EnvironmentFault(
                f"training ran out of memory with micro-batches of {self.rule.most_rows} rows",
                why=str(error).split("\n")[0],
                hint="shorten max_length, train an adapter (lora), or use a machine with more",
            ) from error

    @property
    def memory_notes(self) -> tuple[str, ...]:
        """What lack of memory changed, in words; nothing where it never ran out."""
        if not self.halvings or self.rule is None:
            return ()
        once = "once" if self.halvings == 1 else f"{self.halvings} times"
        rows = self.rule.most_rows
        said = f"memory ran out {once}: micro-batches have at most {rows} row{'s'[: rows > 1]}"
        if self.checkpoints_layers:
            said += ", and layers are computed again instead of kept (gradient checkpointing)"
        return (f"{said}; the effective batch size stayed the same",)


def _piece(
    inputs: Mapping[str, Any], rows: Sequence[int], *, pairs: bool
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return some rows as the collator would have made a batch of them, and their weights.

    The weights are how much the piece counts in means over rows and over tokens.
    """
    num_rows = len(inputs["input_ids"]) // (2 if pairs else 1)
    at = torch.tensor([*rows, *(row + num_rows for row in rows)] if pairs else list(rows))
    at = at.to(inputs["input_ids"].device)
    length = int(inputs["attention_mask"][at].sum(1).max())
    batch = {
        name: value[at[: len(rows)]] if name in _PER_ROW else value[at, :length]
        for name, value in inputs.items()
    }
    if "labels" in batch:
        seen = batch["labels"] != IGNORED
    else:
        seen = batch.get("completion_mask", batch["attention_mask"]) != 0
    tokens = seen[:, 1:].sum(1)  # of each row, what the loss sees
    halves = tokens.chunk(2) if pairs else (tokens, tokens)
    weights = {
        "rows": len(rows),
        "tokens": int(tokens.sum()),
        "chosen_tokens": int(halves[0].sum()),
        "rejected_tokens": int(halves[1].sum()),
    }
    return batch, weights


def _combined(
    found: Sequence[tuple[Mapping[str, list[float]], Mapping[str, int]]],
) -> dict[str, float]:
    """Combine the pieces' metrics to the update's: means by what they are means over."""
    combined = {}
    for name in found[0][0]:
        values = [metrics[name][-1] for metrics, _ in found]
        if name == "num_tokens":
            combined[name] = values[-1]
        elif name in _EXTREMES:
            combined[name] = _EXTREMES[name](values)
        else:
            weights = [weight[_BY_TOKENS.get(name, "rows")] for _, weight in found]
            total = max(sum(weights), 1)
            combined[name] = sum(v * w for v, w in zip(values, weights, strict=True)) / total
    return combined


def enable_shared_prefixes(trainer: Trainer, job: TrainJob, model: Any) -> None:  # noqa: ANN401
    """Make updates go in pieces and, where log-probabilities are asked for, on shared prefixes.

    The trainer's class does its updates by `MicroBatching`; the model is without PEFT's wrapper.
    """
    settings = job.settings
    trainer.tally = Tally()
    if getattr(settings, "packing", False):
        return
    trainer.of_pairs = settings.method in {"dpo", "reward_model"}
    trainer.sums_tokens = not trainer.of_pairs
    on_cpu, scores_texts = job.device == "cpu", settings.method != "reward_model"
    joined = on_cpu and scores_texts and use_joined_attention(model)
    asked, config = settings.per_device_train_batch_size, model.config.get_text_config()
    # Few passes; where rows are padded on a CPU, little padding.
    trainer.rule = MicroBatchRule(
        most_rows=settings.effective_batch_size if asked == "auto" else asked,
        most_tokens=min(MOST_TOKENS, tokens_in_memory(config)) if joined else MOST_TOKENS,
        fixed_cost=cost_of_a_pass(config) if on_cpu else MOST_TOKENS,
        joined=joined,
        in_order=isinstance(settings, DPOSettings) and settings.in_order,
    )
    if scores_texts:
        # Prompts are computed once, but not where each response has its own noise.
        shared = isinstance(settings, DPOSettings) and settings.prefix_sharing == "auto"
        shared = shared and not is_noisy(model.config)
        trainer.lean = install(model, pairs=shared, flat=joined or not on_cpu, tally=trainer.tally)
