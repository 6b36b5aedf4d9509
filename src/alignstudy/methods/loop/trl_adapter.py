"""The one file that knows TRL: builds its trainers, and measures on them for the guards.

TRL computes losses and runs the loop. Encoding, truncation, checkpoints, files and messages are
ours: its own would drop rows silently, phone home at construction and write model cards.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from trl import (
    DPOConfig,
    DPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
    pack_dataset,
)
from trl.trainer.dpo_trainer import DataCollatorForPreference as DPOCollator
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as SFTCollator

from alignstudy.errors import GuardError
from alignstudy.methods.base import Trainer, TrainingSettings, TrainJob
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.batches.order import GroupedByLength
from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.arguments import method_arguments, training_arguments
from alignstudy.methods.loop.updates import MicroBatching, enable_shared_prefixes


class GuardedTrainer(MicroBatching):
    """Mixed into TRL's trainers: knows its rows by id, and lets nothing non-finite pass."""

    row_ids: tuple[str, ...] = ()
    lengths: tuple[int, ...] | None = None

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:  # noqa: ANN401
        return dataset

    def _send_telemetry(self) -> None:
        """Never phone home."""

    def create_model_card(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Write none: a run folder says more."""

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
        """Note the rows of the step, and refuse a loss that is not a number."""
        self.step_rows = [*getattr(self, "step_rows", []), *inputs.pop("row").tolist()]
        loss = super().training_step(model, inputs, *args)
        self._refuse_non_finite("loss", loss.item())
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:  # noqa: ANN401
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        self._refuse_non_finite("gradient norm", float(norm))
        self.step_rows = []
        return norm

    def _refuse_non_finite(self, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        newest = checkpoints.newest_step(Path(self.args.output_dir))  # type: ignore[attr-defined]
        raise GuardError(
            f"the {what} is {value} in step {self.state.global_step + 1}",  # type: ignore[attr-defined]
            why=f"the step's rows are {', '.join(self.row_ids[row] for row in self.step_rows)}",
            hint="lower learning_rate, add warmup_steps, or look at those rows",
            kept="no checkpoint yet" if newest is None else f"the checkpoint of step {newest}",
        )


class _SFT(GuardedTrainer, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, watched."""


class _DPO(GuardedTrainer, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer, watched."""

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:  # noqa: ANN401
        """Leave the rows as they are: they are given what is computed or kept of the reference."""
        return dataset

    def compute_loss(self, *given: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401
        """Compute the loss; at the first step, where all margins are rounding, no pair is won.

        The policy starts as its reference, whose values were computed in other company: a margin
        is then 1e-7 to one side or the other, not 0, and would count as won or lost.
        """
        loss: torch.Tensor = super().compute_loss(*given, **named)
        reported = self._metrics["train" if self.model.training else "eval"]
        if self.state.global_step == 0 and self.precompute_ref_logps:
            reported["rewards/accuracies"][-1] = 0.0
        return loss


class _Reward(GuardedTrainer, RewardTrainer):  # type: ignore[misc]
    """TRL's trainer, watched."""


_TRAINERS: dict[str, tuple[Any, Any]] = {
    "pretrain": (_SFT, SFTConfig),
    "sft": (_SFT, SFTConfig),
    "dpo": (_DPO, DPOConfig),
    "reward_model": (_Reward, RewardConfig),
}


@dataclass(frozen=True)
class _KeepingRows:
    """A collator that also notes which rows a batch is made of."""

    collate: Any

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self.collate(examples)
        rows: list[int] = []
        for example in examples:
            rows += example["row"] if isinstance(example["row"], list) else [example["row"]]
        return {**batch, "row": torch.tensor(list(dict.fromkeys(rows)))}


SAVE_SECONDS = 20.0
"""Least seconds between checkpoints whose number of steps the settings leave to us: so much is lost
by a kill, and a training of seconds doesn't spend a tenth of them on files that nobody reads."""


class ProgressAndCheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Between steps: reports progress, seals checkpoints, stops when asked to."""

    def __init__(self, job: TrainJob, trainer: Trainer, *, seconds_before: float) -> None:
        self._job, self._trainer, self.stopped = job, trainer, False
        self._seconds_before, self._started = seconds_before, time.monotonic()
        self._saved = self._started
        self._tokens_before = trainer._total_train_tokens

    @property
    def seconds(self) -> float:
        """Time spent in training, earlier runs of the same job included."""
        return self._seconds_before + time.monotonic() - self._started

    def on_log(self, *given: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ANN401
        """Report the progress of one step."""
        if "loss" in logs:
            tokens = self._trainer._total_train_tokens - self._tokens_before
            rate = tokens / max(time.monotonic() - self._started, 1e-9)
            self._job.progress.advance(1, loss=logs["loss"], tokens_per_second=rate)

    def on_step_end(self, _: Any, __: TrainerState, control: TrainerControl, **___: Any) -> None:  # noqa: ANN401
        """Stop in good order when asked to; leave out a checkpoint that comes too soon."""
        if self._job.should_stop():
            self.stopped = True
            control.should_save = control.should_training_stop = True
        elif self._job.settings.save_steps is None:
            soon = time.monotonic() - self._saved < SAVE_SECONDS
            control.should_save = control.should_save and not soon

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Seal the checkpoint that was just written, and drop the oldest; none beyond the end."""
        if state.global_step > args.max_steps:
            return
        checkpoints.seal(
            Path(args.output_dir) / f"checkpoint-{state.global_step}",
            digest=self._job.digest,
            step=state.global_step,
            num_tokens=self._trainer._total_train_tokens,
            seconds=self.seconds,
        )
        checkpoints.rotate(Path(args.output_dir))
        self._saved = time.monotonic()


def collator(settings: TrainingSettings, tokenizer: PreTrainedTokenizerBase) -> Any:  # noqa: ANN401
    """Return the collator that training uses: padding, and what the loss sees."""
    pad, method = tokenizer.pad_token_id, settings.method
    if method == "dpo":
        return _KeepingRows(DPOCollator(pad_token_id=pad, max_length=settings.max_length))
    if method == "reward_model":
        return _KeepingRows(RewardCollator(pad_token_id=pad))
    packing = getattr(settings, "packing", False)
    return _KeepingRows(SFTCollator(pad_token_id=pad, padding_free=packing))


def rows_as_dataset(settings: TrainingSettings, encoded: Encoded) -> datasets.Dataset:
    """Make the data set that the trainer reads, rows packed if the settings say so."""
    datasets.disable_progress_bars()
    if not getattr(settings, "packing", False):
        rows = list(range(len(encoded.row_ids)))
        return datasets.Dataset.from_dict({**encoded.columns, "row": rows})
    ids = encoded.columns["input_ids"]
    rows_a_token = [[row] * len(ids[row]) for row in range(len(ids))]
    unpacked = datasets.Dataset.from_dict({**encoded.columns, "row": rows_a_token})
    return pack_dataset(unpacked, settings.max_length, "bfd")


def build(
    job: TrainJob,
    encoded: Encoded,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    precision: str = "fp32",
    references_ahead: bool = False,
) -> Trainer:
    """Build the trainer of a job; its work starts with `trainer.train(checkpoint or None)`.

    Args:
        job: The job.
        encoded: Its rows.
        model: The model to train, loaded from the parent's folder.
        tokenizer: The parent's.
        precision: "fp32" or "bf16".
        references_ahead: Whether the reference's log-probabilities will be in the rows; else the
            model without its adapter is asked in every step.
    """
    settings = job.settings
    trainer_class, config_class = _TRAINERS[settings.method]
    rows = rows_as_dataset(settings, encoded)
    common = training_arguments(job, num_rows=len(rows), precision=precision)
    args = config_class(**common, **method_arguments(settings, references_ahead=references_ahead))
    if job.device != "cpu":
        args._n_gpu = 1  # one process, one GPU: TRL refuses nn.DataParallel
    extra: dict[str, Any] = {}
    if settings.lora is not None:
        lora = settings.lora.model_dump() | {"target_modules": list(settings.lora.target_modules)}
        extra["peft_config"] = LoraConfig(**lora, bias="none", task_type="CAUSAL_LM")
    trainer = trainer_class(
        model=model, args=args, train_dataset=rows, processing_class=tokenizer, **extra
    )
    trainer.data_collator = collator(settings, tokenizer)
    trainer.row_ids = encoded.row_ids
    if settings.group_by_length:
        columns = [values for name, values in encoded.columns.items() if name != "labels"]
        trainer.lengths = tuple(sum(map(len, row)) for row in zip(*columns, strict=True))
    trainer.remove_callback(PrinterCallback)
    enable_shared_prefixes(trainer, job, model)
    return trainer
