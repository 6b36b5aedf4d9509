"""What trainers of ours do otherwise than transformers' and TRL's: mixed in by `trl_adapter`.

It knows its rows by id, lets nothing non-finite pass, reads no number of a GPU's between updates,
and neither phones home nor writes model cards.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import torch

from alignstudy.errors import EnvironmentFault, GuardError, shortened
from alignstudy.methods.batches.order import GroupedByLength
from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.ledger import READ_EVERY, Ledger, Update
from alignstudy.methods.loop.logged import JUMP, WINDOW, jump
from alignstudy.methods.loop.offload import OffloadingAdamW
from alignstudy.methods.loop.updates import MicroBatching
from alignstudy.methods.scoring.layout import Layout
from alignstudy.methods.trainer import Batch
from alignstudy.models.quantized import forget_overrides


class GuardedTrainer(MicroBatching):
    """Mixed into TRL's trainers.

    Attributes:
        row_ids: The rows' ids, by number.
        lengths: Of the rows, where batches are of like length; None: they are drawn from all.
        has_references: Whether the reference's log-probabilities are in the rows.
        starts_at_reference: Whether the policy begins as its reference.
        step_rows: Numbers of the rows that the update now made has read.
    """

    row_ids: tuple[str, ...] = ()
    lengths: tuple[int, ...] | None = None
    has_references = False
    starts_at_reference = True
    step_rows: tuple[int, ...] = ()
    _ledger: Ledger | None = None
    _total_loss_scalar: float

    def prepare(self, batch: Batch) -> Batch:
        """Move a batch to the trainer's device, without waiting for what that is doing."""
        device = self.args.device  # type: ignore[attr-defined]
        return {name: _moved(value, device) for name, value in batch.items()}

    def autocast(self) -> Any:  # noqa: ANN401
        """Compute in the precision of training."""
        return self.accelerator.autocast()  # type: ignore[attr-defined]

    @property
    def tokens_read(self) -> int:
        """Tokens that training read, of earlier runs of the job too; TRL's count."""
        return int(self._total_train_tokens)

    @tokens_read.setter
    def tokens_read(self, number: int) -> None:
        self._total_train_tokens = number

    @property
    def ledger(self) -> Ledger:
        """The updates that weren't told yet; each is read at once where Python must know of it."""
        if self._ledger is None:
            waits = self.method.samples or self.accelerator.scaler is not None  # type: ignore[attr-defined]
            kind = self.args.device.type  # type: ignore[attr-defined]
            self._ledger = Ledger(1 if waits else READ_EVERY[kind])
        return self._ledger

    def log_step(self, figures: dict[str, float]) -> None:
        """Have figures logged with the next update that is."""
        reported = self._metrics["train"]  # type: ignore[attr-defined]
        for name, value in figures.items():
            reported[name].append(value)

    def save_beside(self, folder: Path) -> None:
        """Write what a checkpoint needs beside the trainer's own files."""
        self.objective.state.save(folder)

    def load_beside(self, checkpoint: Path | None) -> None:
        """Read it; None: training begins."""
        if checkpoint is not None:
            self.objective.state.load(checkpoint)

    def create_optimizer(self, *given: Any) -> Any:  # noqa: ANN401
        """Make the optimizer, which knows of no earlier one."""
        forget_overrides()
        return OffloadingAdamW.of(super().create_optimizer(*given))  # type: ignore[misc]

    def _smaller(self, model: Any, error: BaseException) -> None:  # noqa: ANN401
        """Halve the pieces, compute layers again; and last of all move the moments away.

        Raises:
            EnvironmentFault: If nothing is left to save.
        """
        try:
            super()._smaller(model, error)
        except EnvironmentFault:
            optimizer = getattr(self.optimizer, "optimizer", self.optimizer)  # type: ignore[attr-defined]
            if not (isinstance(optimizer, OffloadingAdamW) and optimizer.offload()):
                raise

    @property
    def memory_notes(self) -> tuple[str, ...]:
        """What lack of memory changed, in words; nothing where it never ran out."""
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)  # type: ignore[attr-defined]
        said = "AdamW's moments didn't fit the device: they lay in the processor's memory"
        return (*super().memory_notes, *([said] if getattr(optimizer, "offloaded", False) else []))

    def finish(self) -> None:
        """Do what is left after the last step: nothing."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:  # noqa: ANN401
        return dataset

    def _send_telemetry(self) -> None:
        """Never phone home."""

    def create_model_card(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Write none: a run folder says more."""

    def floating_point_ops(self, _: Batch) -> int:
        """Return 0: our own count is better, and nobody reads this one."""
        return 0

    def _get_num_items_in_batch(self, *given: Any) -> Any:  # noqa: ANN401
        """Count targets for packed rows alone: in pieces they are counted before they are moved."""
        return super()._get_num_items_in_batch(*given) if self.rule is None else None  # type: ignore[misc]

    def get_train_dataloader(self) -> Any:  # noqa: ANN401
        """Return batches that stay on the processor: where they are cut to pieces."""
        loader = super().get_train_dataloader()  # type: ignore[misc]
        loader.device = None
        return loader

    def _get_train_sampler(self, *args: Any) -> Any:  # noqa: ANN401
        if self.lengths is None:
            return super()._get_train_sampler(*args)  # type: ignore[misc]
        batch_size = self.args.per_device_train_batch_size  # type: ignore[attr-defined]
        return GroupedByLength(self.lengths, batch_size=batch_size, seed=self.args.seed)  # type: ignore[attr-defined]

    def _run_epoch(self, *args: Any, **given: Any) -> None:  # noqa: ANN401
        # Resumed at its last step, within an epoch, the trainer would make one step too many.
        if self.state.global_step >= self.args.max_steps:  # type: ignore[attr-defined]
            self.control.should_training_stop = True  # type: ignore[attr-defined]
            return
        super()._run_epoch(*args, **given)  # type: ignore[misc]

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any) -> torch.Tensor:  # noqa: ANN401
        """Note the rows of the step."""
        self.step_rows = (*self.step_rows, *inputs.pop("row").tolist())
        return super().training_step(model, inputs, *args)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:  # noqa: ANN401
        """Note what the update comes to, before it is made."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        scaler = self.accelerator.scaler  # type: ignore[attr-defined]
        if scaler is not None and scaler.get_scale() > 1 and not math.isfinite(norm):
            norm = torch.zeros_like(norm)  # float16 overflowed: none is made, the scale is halved
        update = Update(
            rows=self.step_rows,
            step=self.state.global_step + 1,  # type: ignore[attr-defined]
            learning_rate=self._get_learning_rate(),  # type: ignore[attr-defined]
            tokens=self.tokens_read,
        )
        loss = self._tr_loss  # type: ignore[attr-defined]
        self.ledger.note(update, loss=loss, grad_norm=norm, figures=self.figures_found())
        self.step_rows = ()
        if self.ledger.is_due:
            self.read_updates()
        return norm

    def read_updates(self) -> None:
        """Look at what updates came to that weren't looked at.

        Raises:
            GuardError: If a loss or a norm isn't a number; nothing of that update is kept.
        """
        for update in self.ledger.read():
            self._refuse_non_finite("loss", update.loss, update)
            self._refuse_non_finite("gradient norm", update.grad_norm, update)

    def _maybe_log_save_evaluate(self, *args: Any, **given: Any) -> None:  # noqa: ANN401
        """Log the updates that were read; before anything is saved, all are."""
        state, control, newest = self.state, self.control, self.ledger.newest  # type: ignore[attr-defined]
        if newest is not None and newest.step == state.global_step:
            newest.epoch = state.epoch
            self._tr_loss.zero_()  # type: ignore[attr-defined]
            self._globalstep_last_logged = state.global_step
            if control.should_save or control.should_training_stop:
                self.read_updates()
            self._tell()
        super()._maybe_log_save_evaluate(*args, **given)  # type: ignore[misc]

    def _tell(self) -> None:
        """Log the updates that were read, each as it was when it was made."""
        state = self.state  # type: ignore[attr-defined]
        now = state.global_step, state.epoch
        for update in self.ledger.told():
            state.global_step, state.epoch = update.step, update.epoch
            self._total_loss_scalar += update.loss
            self.log_step(self._figures(update))
            self._metrics["train"]["num_tokens"] = [update.tokens]  # type: ignore[attr-defined]
            entry = {name: getattr(update, name) for name in ("loss", "grad_norm", "learning_rate")}
            self.log(entry, rows=update.rows)
        state.global_step, state.epoch = now

    def _figures(self, update: Update) -> dict[str, float]:
        figures = dict(update.figures)
        if update.step == 1 and self.has_references and self.starts_at_reference:
            # The policy starts as its reference, whose values were computed in another batch: a
            # margin is then 1e-7 to one side or the other, not 0, and would be won or lost.
            figures |= {name: 0.0 for name in figures if name == "rewards/accuracies"}
        if "rewards/margins" not in figures and {"rewards/chosen", "rewards/rejected"} <= set(
            figures
        ):
            figures["rewards/margins"] = figures["rewards/chosen"] - figures["rewards/rejected"]
        return figures

    def log(self, logs: dict[str, float], *args: Any, rows: tuple[int, ...] = ()) -> None:  # noqa: ANN401
        """Log an update; where its loss jumped, say so there, with the rows that it read."""
        history = self.state.log_history  # type: ignore[attr-defined]
        before = islice((each["loss"] for each in reversed(history) if "loss" in each), WINDOW)
        losses = [*before][::-1]
        super().log(logs, *args)  # type: ignore[misc]
        entry = history[-1]
        if "loss" in entry and (said := jump(losses, entry["loss"])):
            named = ", ".join(self.row_ids[row] for row in rows)
            entry[JUMP] = shortened(f"{said}; its rows are {named}", 400)

    def _refuse_non_finite(self, what: str, value: float, update: Update | None = None) -> None:
        """Refuse a number that is none, of an update or of the one that is being made."""
        if math.isfinite(value):
            return
        rows = self.step_rows if update is None else update.rows
        step = self.state.global_step + 1 if update is None else update.step  # type: ignore[attr-defined]
        newest = checkpoints.newest_step(Path(self.args.output_dir))  # type: ignore[attr-defined]
        raise GuardError(
            f"the {what} is {value} in step {step}",
            why=f"the step's rows are {', '.join(self.row_ids[row] for row in rows)}",
            hint="lower learning_rate, add warmup_steps, or look at those rows",
            kept="no checkpoint yet" if newest is None else f"the checkpoint of step {newest}",
        )


def _moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    if isinstance(value, Layout):
        return replace(value, **{n: _moved(part, device) for n, part in value.tensors.items()})
    if not isinstance(value, torch.Tensor) or value.device.type == device.type:
        return value
    return value.pin_memory().to(device, non_blocking=True)
