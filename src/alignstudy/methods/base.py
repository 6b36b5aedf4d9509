"""What trainings share: their settings, what they are given, what they give back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from alignstudy.methods.online.ports import Ports
from alignstudy.models.templates import AUTO
from alignstudy.progress import SILENT, Progress
from alignstudy.records import GuardOutcome, Pair, TrainingRow
from alignstudy.settings import Many, Settings

METRICS_FILE = "metrics.jsonl"
"""One JSON line a logged step, next to the trained weights."""
PROBE_FILE = "probe.jsonl"
"""One JSON line a measurement of the probe's pairs, next to it; only where there is a probe."""


class LoRASettings(Settings):
    """A low-rank adapter instead of full weights (arXiv 2106.09685).

    Names as in PEFT's LoraConfig, but for `load_in_4bit`.
    """

    r: int = Field(default=8, ge=1, description="rank of the update")
    lora_alpha: float = Field(default=16, gt=0, description="the update is scaled by lora_alpha/r")
    lora_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="dropout on the adapter's input; null: 0 with `dropout: off`, else 0.05",
    )
    target_modules: Many[str] = Field(
        default=("q_proj", "v_proj"), min_length=1, description="names of the adapted layers"
    )
    load_in_4bit: bool = Field(
        default=False,
        description="true: the base's layers are held in 4 bits, wherever the adapter is used (NF4,"
        " double quantization: QLoRA, arXiv 2305.14314); embeddings, head and adapter are not."
        " Needs the extra `quantized`. Name as in transformers' BitsAndBytesConfig",
    )


class TrainingSettings(Settings):
    """Settings of every method.

    Names as in transformers' TrainingArguments, but for `method`, `total_train_batch_size`,
    `precision`, `max_length`, `dropout`, `group_by_length`, `router_aux_loss_coef`, `lora`. The
    optimizer is AdamW (0.9, 0.999, 1e-8).
    """

    method: str = Field(description="the method's name in `METHODS`")
    not_in_key: ClassVar[frozenset[str]] = frozenset({"save_steps"})

    num_train_epochs: float = Field(default=1, gt=0, description="passes over the rows")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop after so many steps; overrides num_train_epochs"
    )
    learning_rate: float = Field(default=2e-5, gt=0, le=1, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="how the learning rate falls after the warm-up"
    )
    warmup_steps: float = Field(
        default=0, ge=0, description="steps of linear warm-up; below 1: the share of all steps"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's decoupled weight decay")
    optim: Literal["adamw_torch_fused", "adamw_8bit"] = Field(
        default="adamw_torch_fused",
        description="adamw_8bit: AdamW's moments in 8 bits (arXiv 2110.02861), those of embeddings"
        " and of matrices below 4,096 weights in 32. Needs the extra `quantized`",
    )
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="norm to which gradients are clipped"
    )
    per_device_train_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default=8,
        description="rows per micro-batch, at most; auto: as many as fit in memory",
    )
    gradient_accumulation_steps: int = Field(
        default=1,
        ge=1,
        description="times per_device_train_batch_size: the rows per optimizer step",
    )
    total_train_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="rows per optimizer step with per_device_train_batch_size: auto; null: 8",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="fp32; bf16, fp16: mixed precision, master weights in float32, refused if its"
        " loss curve departs from float32's (fp16 is for GPUs without bf16, such as a T4: it scales"
        " the loss and skips updates that overflow); auto: bf16 on a GPU that supports it, if the"
        " curves agree",
    )
    max_length: int = Field(
        default=512, ge=2, description="tokens per row, prompt and response; the end is truncated"
    )
    dropout: Literal["off", "keep"] = Field(
        default="keep",
        description="off: every dropout of the model is 0; keep: its configuration's",
    )
    group_by_length: bool = Field(
        default=False, description="batches of rows of similar length: less padding, another order"
    )
    router_aux_loss_coef: float = Field(
        default=0.0,
        ge=0,
        description="weight of the load-balancing loss of a mixture of experts' router; 0: none,"
        " whatever the model's configuration says",
    )
    lora: LoRASettings | None = Field(default=None, description="null: train the full weights")
    save_steps: int | None = Field(
        default=None,
        ge=1,
        description="steps between checkpoints; null: a tenth of all, 500 at most,"
        " but not within 20 seconds of the one before, after the last step 10 minutes",
    )
    logging_steps: int = Field(default=1, ge=1, description="steps per line of metrics.jsonl")

    @property
    def lora_dropout(self) -> float:
        """Dropout on an adapter's input."""
        if self.lora is not None and self.lora.lora_dropout is not None:
            return self.lora.lora_dropout
        return 0.0 if self.dropout == "off" else 0.05

    @property
    def in_4bit(self) -> bool:
        """Whether the base is held in 4 bits."""
        return self.lora is not None and self.lora.load_in_4bit

    @property
    def effective_batch_size(self) -> int:
        """The rows that one step of the optimizer averages over."""
        if self.per_device_train_batch_size == "auto":
            return self.total_train_batch_size or 8
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def steps_an_epoch(self, num_rows: int) -> int:
        """Return the steps in which every one of so many rows is read once."""
        return ceil(num_rows / self.effective_batch_size)

    def for_one_update(self, rows: int) -> Self:
        """Return the same for a training of so many rows that ends when all of them were read."""
        del rows
        return self.model_copy(update={"max_steps": None, "num_train_epochs": 1})

    @model_validator(mode="after")
    def _check_consistency(self) -> TrainingSettings:
        auto = self.per_device_train_batch_size == "auto"
        if auto and self.gradient_accumulation_steps > 1:
            raise ValueError(
                "per_device_train_batch_size 'auto' finds the micro-batches itself; give"
                " total_train_batch_size instead of gradient_accumulation_steps"
            )
        if not auto and self.total_train_batch_size is not None:
            raise ValueError(
                "total_train_batch_size goes with per_device_train_batch_size: auto; otherwise an"
                " update has per_device_train_batch_size * gradient_accumulation_steps rows"
            )
        if self.warmup_steps > 0 and self.lr_scheduler_type == "constant":
            raise ValueError(
                "lr_scheduler_type 'constant' ignores warmup_steps; use 'constant_with_warmup'"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One training: everything that it depends on.

    Attributes:
        settings: The method's own settings class.
        parent: Folder of full weights in Hugging Face layout. A folder with config.json and
            tokenizer alone will do where weights are to come from `seed`.
        rows: What to train on: `Pair`, `Rated` or `Document`, as the method reads.
        seed: Of initial weights, adapter, order of rows and dropout.
        out: Empty existing folder that the trained model goes into.
        work: Folder that outlives a kill; checkpoints lie there.
        digest: Identity of this job; a checkpoint of another digest is never resumed.
        device: "cpu" or "cuda".
        template: How prompts are written; see `template_of`.
        reference: Folder of the full weights that log-ratios are against; None: the parent.
        references: File of reference log-probabilities, shared with other jobs; None: none are
            kept beyond this job.
        held_out: Pairs that nothing is learnt from: the probe's other half. Empty: it has none.
        ports: Who samples and who rewards; None where the method does neither.
        should_stop: Asked after every step; True saves a checkpoint and ends the run.
    """

    settings: TrainingSettings
    parent: Path
    rows: Sequence[TrainingRow]
    seed: int
    out: Path
    work: Path
    digest: str
    device: str = "cpu"
    template: str = AUTO
    reference: Path | None = None
    references: Path | None = None
    held_out: Sequence[Pair] = ()
    ports: Ports | None = None
    progress: Progress = SILENT
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class WorkDone:
    """What a training computed: counts that no clock disturbs; a resumed run counts its own part.

    Attributes:
        rows: That updates were made of, one that is read again counted again; 0 of packed ones.
        real_tokens: Tokens of the rows that were read; of a pair, prompt + chosen + prompt +
            rejected, and so on with every further response.
        processed_tokens: Positions that went through the model to train it, padding included.
        scored_tokens: Positions at which the vocabulary was computed.
        measured_tokens: Positions of texts that went through it in steps without a gradient.
        measured_targets: Those of them at which the vocabulary was computed.
        micro_batches: Passes forward and backward.
        reference_pairs: Pairs that went through the reference.
        reference_reused: Pairs whose reference log-probabilities were kept from before.
        probed_pairs: Pairs that went through the model to be measured, not learnt from.
        samples: Texts that the policy wrote to learn from.
        asked_tokens: Tokens of the prompts that it read for them, one a sample.
        written_tokens: Tokens that it wrote.
        critic_tokens: Positions that went through a critic to train it.
        critic_read_tokens: Positions that it foretold rewards at, without a gradient.
        judge_flops: Arithmetic of the judges that rewarded them; NaN: not known.
        out_of_memory: How often micro-batches were halved for lack of memory.
    """

    rows: int = 0
    real_tokens: int = 0
    processed_tokens: int = 0
    scored_tokens: int = 0
    measured_tokens: int = 0
    measured_targets: int = 0
    micro_batches: int = 0
    reference_pairs: int = 0
    reference_reused: int = 0
    probed_pairs: int = 0
    samples: int = 0
    asked_tokens: int = 0
    written_tokens: int = 0
    critic_tokens: int = 0
    critic_read_tokens: int = 0
    judge_flops: float = 0.0
    out_of_memory: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training came to.

    Attributes:
        steps: Optimizer steps.
        num_tokens: Tokens read, prompts included, padding not.
        seconds: Wall-clock time inside the training loop, interruptions not counted.
        final_loss: Loss of the last step.
        counts: Rows given ("rows"), used, cut at the end ("truncated"), left out ("too_long"), ...
        work: What was computed for it.
    """

    steps: int
    epochs: float
    num_tokens: int
    seconds: float
    final_loss: float
    guards: tuple[GuardOutcome, ...]
    notes: tuple[str, ...]
    counts: dict[str, int]
    work: WorkDone = WorkDone()


@dataclass(frozen=True, kw_only=True)
class PreviewExample:
    """One example as the trainer sees it, token by token.

    Attributes:
        tokens: Decoded one by one, special tokens included, padding not.
        in_loss: Whether the token is a target of the loss.
        part: Which of the row's texts: "text", "chosen", "rejected", "gold", "mismatched".
    """

    row_id: str
    tokens: tuple[str, ...]
    in_loss: tuple[bool, ...]
    part: str
