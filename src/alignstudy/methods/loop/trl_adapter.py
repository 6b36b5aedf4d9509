"""The one file that knows TRL: builds its trainers, which run the loop.

Objectives, encoding, truncation, checkpoints, files and messages are ours: its own would drop rows
silently, phone home at construction and write model cards. Whatever is private in TRL or
transformers is used here and nowhere else.
"""

from __future__ import annotations

import itertools
import math
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
)
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer, pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as SFTCollator
from trl.trainer.utils import add_fused_lm_head

from alignstudy.errors import GuardError, shortened
from alignstudy.methods import method_of
from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.collate import PairCollator
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.batches.order import GroupedByLength
from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.arguments import stores_transposed, training_arguments
from alignstudy.methods.loop.logged import JUMP, jump
from alignstudy.methods.loop.online import SamplesOnline
from alignstudy.methods.loop.readers import ReadsSamples, ReadsScores, ReadsTexts
from alignstudy.methods.loop.updates import MicroBatching, prepare_updates
from alignstudy.methods.method import Method
from alignstudy.methods.online.critic import critic_of
from alignstudy.methods.online.rollouts import Rollouts
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.scoring.shared_forward import Tally, install
from alignstudy.methods.trainer import Batch, Trainer
from alignstudy.models.tokenizers import padding_id


class GuardedTrainer(MicroBatching):
    """Mixed into TRL's trainers: knows its rows by id, and lets nothing non-finite pass."""

    row_ids: tuple[str, ...] = ()
    lengths: tuple[int, ...] | None = None
    has_references = False
    starts_at_reference = True

    def prepare(self, batch: Batch) -> Batch:
        """Move a collated batch to the trainer's device."""
        moved: Batch = self._prepare_inputs(batch)  # type: ignore[attr-defined]
        return moved

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

    def log_step(self, figures: dict[str, float]) -> None:
        """Have a step's figures logged with its loss."""
        first = self.state.global_step == 0  # type: ignore[attr-defined]
        if first and self.has_references and self.starts_at_reference:
            # The policy starts as its reference, whose values were computed in another batch: a
            # margin is then 1e-7 to one side or the other, not 0, and would count as won or lost.
            figures = {n: 0.0 if n == "rewards/accuracies" else v for n, v in figures.items()}
        if "rewards/margins" not in figures and {"rewards/chosen", "rewards/rejected"} <= set(
            figures
        ):
            margin = figures["rewards/chosen"] - figures["rewards/rejected"]
            figures = {**figures, "rewards/margins": margin}
        reported = self._metrics["train"]  # type: ignore[attr-defined]
        for name, value in figures.items():
            reported[name].append(value)
        reported["num_tokens"] = [self.tokens_read]

    def save_beside(self, folder: Path) -> None:
        """Write what a checkpoint needs beside the trainer's own files."""
        self.objective.state.save(folder)

    def load_beside(self, checkpoint: Path | None) -> None:
        """Read it; None: training begins."""
        if checkpoint is not None:
            self.objective.state.load(checkpoint)

    def finish(self) -> None:
        """Do what is left after the last step: nothing."""

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
        scaler = self.accelerator.scaler  # type: ignore[attr-defined]
        if scaler is not None and scaler.get_scale() > 1 and not math.isfinite(norm):
            norm = 0.0  # float16 overflowed: no update is made of it, and the scale is halved
        self._refuse_non_finite("gradient norm", float(norm))
        self.step_rows, self.last_rows = [], self.step_rows
        return norm

    def log(self, logs: dict[str, float], *args: Any) -> None:  # noqa: ANN401
        """Log a step; where its loss jumped, say so there, with the rows that it read."""
        losses = [each["loss"] for each in self.state.log_history if "loss" in each]  # type: ignore[attr-defined]
        super().log(logs, *args)  # type: ignore[misc]
        entry = self.state.log_history[-1]  # type: ignore[attr-defined]
        if "loss" in entry and (said := jump(losses, entry["loss"])):
            rows = ", ".join(self.row_ids[row] for row in self.last_rows)
            entry[JUMP] = shortened(f"{said}; its rows are {rows}", 400)

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


class _LM(ReadsTexts, GuardedTrainer, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer of language models, with the method's own objective."""


class _Online(SamplesOnline, ReadsSamples, GuardedTrainer, SFTTrainer):  # type: ignore[misc]
    """The same, of a policy that writes its texts itself."""


class _Classifier(ReadsScores, GuardedTrainer, RewardTrainer):  # type: ignore[misc]
    """TRL's trainer of classifiers, with the method's own objective."""


_TRAINERS: dict[str, tuple[Any, Any]] = {
    "causal_lm": (_LM, SFTConfig),
    "classifier": (_Classifier, RewardConfig),
    "online": (_Online, SFTConfig),
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


def collator(method: Method[Any], tokenizer: PreTrainedTokenizerBase) -> Any:  # noqa: ANN401
    """Return the collator that training uses: padding, and what the loss sees."""
    pad_token_id = padding_id(tokenizer)
    if method.branches != ("text",):
        return _KeepingRows(PairCollator(method.branches, pad_token_id))
    return _KeepingRows(SFTCollator(pad_token_id=pad_token_id, padding_free=method.packs))


def rows_as_dataset(method: Method[Any], encoded: Encoded) -> datasets.Dataset:
    """Make the data set that the trainer reads, rows packed if the method packs."""
    datasets.disable_progress_bars()
    if not method.packs:
        rows = list(range(len(encoded.row_ids)))
        return datasets.Dataset.from_dict({**encoded.columns, **encoded.said, "row": rows})
    ids = encoded.columns["input_ids"]
    rows_a_token = [[row] * len(ids[row]) for row in range(len(ids))]
    unpacked = datasets.Dataset.from_dict({**encoded.columns, "row": rows_a_token})
    return pack_dataset(unpacked, method.settings.max_length, "bfd")


def build(
    job: TrainJob,
    encoded: Encoded,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    precision: str = "fp32",
    references_ahead: bool = False,
) -> Any:  # noqa: ANN401 - TRL's trainer, which is a `Trainer`
    """Build the trainer of a job; its work starts with `trainer.train(checkpoint or None)`.

    Args:
        job: The job.
        encoded: Its rows.
        model: The model to train, loaded from the parent's folder.
        tokenizer: The parent's.
        precision: "fp32", "bf16" or "fp16".
        references_ahead: Whether the reference's log-probabilities will be in the rows; else the
            model without its adapter is asked in every step.
    """
    settings, method = job.settings, method_of(job.settings)
    trainer_class, config_class = _TRAINERS["online" if method.samples else method.trains]
    rows = rows_as_dataset(method, encoded)
    args = config_class(**training_arguments(job, num_rows=len(rows), precision=precision))
    if job.device != "cpu":
        args._n_gpu = 1  # one process, one GPU: TRL refuses nn.DataParallel
    extra: dict[str, Any] = {}
    if settings.lora is not None:
        lora = settings.lora.model_dump() | {
            "target_modules": list(settings.lora.target_modules),
            "lora_dropout": settings.lora_dropout,
            "fan_in_fan_out": stores_transposed(settings.lora, model),
        }
        extra["peft_config"] = LoraConfig(**lora, bias="none", task_type="CAUSAL_LM")
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        # Refused beside packing; without one, TRL writes a pad token into tokenizer and model.
        data_collator=None if method.packs else collator(method, tokenizer),
        **extra,
    )
    trainer.data_collator = collator(method, tokenizer)
    trainer.method, trainer.objective = method, method.objective
    trainer.objective.state.seed = job.seed
    trainer.row_ids, trainer.has_references = encoded.row_ids, references_ahead
    trainer.starts_at_reference = job.reference is None
    if settings.group_by_length:
        columns = [values for name, values in encoded.columns.items() if name != "labels"]
        trainer.lengths = tuple(sum(map(len, row)) for row in zip(*columns, strict=True))
    trainer.remove_callback(PrinterCallback)
    if trainer.objective.weighs_pairs:  # TRL's head measures what it is told when it is made
        add_fused_lm_head(model, outputs=("log_probs", "log_sum_sq_probs", "is_top1"))
    prepare_updates(trainer, job, model)
    if method.samples and job.ports is not None:
        trainer.rollouts = Rollouts(trainer, job, padding_id(tokenizer))
        trainer.critic = critic_of(job, trainer)
    return trainer


def reference_model(trainer: Trainer, model: PreTrainedModel) -> PreTrainedModel:
    """Make a model that is not trained score as a trainer's does."""
    add_fused_lm_head(model, outputs=("log_probs",))
    assert trainer.route is not None
    model.set_attn_implementation(unwrapped(trainer.model).config._attn_implementation)
    install(model, trainer.route, tally=Tally())
    return model.eval().requires_grad_(False)


def rows_seen(trainer: Any) -> list[int] | None:  # noqa: ANN401
    """Return the rows that a trainer's updates will see, in order; None where they see all."""
    loader = trainer.get_train_dataloader()
    if trainer.args.max_steps >= len(loader):
        return None
    with torch.random.fork_rng():
        batches = itertools.islice(iter(loader.batch_sampler), trainer.args.max_steps)
        return [row for batch in batches for row in batch]
