"""The one file that knows TRL: builds its trainers, which run the loop.

Objectives, encoding, truncation, checkpoints, files and messages are ours: its own would drop rows
silently, phone home at construction and write model cards. Whatever is private in TRL or
transformers is used here and in `guarded`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
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

from alignstudy.methods import method_of
from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.collate import PairCollator
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.loop.arguments import stores_transposed, training_arguments
from alignstudy.methods.loop.guarded import GuardedTrainer
from alignstudy.methods.loop.online import SamplesOnline
from alignstudy.methods.loop.preparing import prepare_updates
from alignstudy.methods.loop.readers import ReadsSamples, ReadsScores, ReadsTexts
from alignstudy.methods.method import Method
from alignstudy.methods.online.critic import critic_of
from alignstudy.methods.online.rollouts import Rollouts
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.scoring.shared_forward import Tally, install
from alignstudy.methods.trainer import Trainer
from alignstudy.models.quantized import keep_in_float32
from alignstudy.models.tokenizers import padding_id


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
        lora = settings.lora.model_dump(exclude={"load_in_4bit"}) | {
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
    keep_in_float32(trainer.model)
    trainer.data_collator = collator(method, tokenizer)
    trainer.method, trainer.objective = method, method.objective
    trainer.objective.state.seed = job.seed
    trainer.row_ids, trainer.has_references = encoded.row_ids, references_ahead
    trainer.starts_at_reference = job.reference is None
    if settings.group_by_length:
        trainer.lengths = tuple(encoded.lengths)
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
