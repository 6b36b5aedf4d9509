"""Settings of every method that samples while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.rounds.round import SamplingSettings
from alignstudy.settings import Many


class OnlineSettings(TrainingSettings):
    """Settings of every method that learns from a judge's scores of what the policy writes now.

    Rows are prompts: an update of `effective` rows learns from `num_generations` times as many
    samples. Names as in TRL's RLOOConfig and GRPOConfig, but for `dropout`, `max_kl`, `max_flops`,
    `missing_eos_penalty`, `reference`, `prefix_sharing`, `rewarded_by`, `sampling`.
    """

    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"beta": (0.01, 0.1)}

    learning_rate: float = Field(default=1e-6, gt=0, le=1, description="peak learning rate")
    dropout: Literal["off"] = Field(
        default="off", description="always off: the policy that learns is the one that sampled"
    )
    num_generations: int = Field(default=4, ge=1, description="samples after each prompt")
    steps_per_generation: int = Field(
        default=1, ge=1, description="updates whose prompts are sampled after at once"
    )
    num_iterations: int = Field(
        default=1, ge=1, description="times that samples are learnt from before new ones are drawn"
    )
    beta: float = Field(default=0.05, ge=0, description="weight of the KL to the reference")
    max_kl: float | None = Field(
        default=20.0,
        gt=0,
        description="nats between policy and reference, summed over a sample and averaged over a"
        " rollout, beyond which training ends; the model is the last one below; null: no end",
    )
    max_flops: float | None = Field(
        default=None,
        gt=0,
        description="arithmetic operations, samples, reference and judges included, at the update"
        " nearest to which training ends, if it hasn't before; the learning rate falls with them;"
        " null: no such end",
    )
    missing_eos_penalty: float | None = Field(
        default=None,
        gt=0,
        description="what is taken from the score of a sample that doesn't end; null: nothing",
    )
    rewarded_by: Many[str] | None = Field(
        default=None,
        min_length=1,
        description="judges of the study whose scores are learnt; null: the first that isn't the"
        " report's own",
    )
    reward_weights: Many[Annotated[float, Field(gt=0)]] | None = Field(
        default=None,
        description="what each of their scores is multiplied by before they are added; null: 1",
    )
    reference: Literal["parent", "start"] = Field(
        default="parent",
        description="what the KL is to: the model that this training starts from, or the one that"
        " the recipe starts from",
    )
    prefix_sharing: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: a prompt is computed once for all of its samples; off: once for each",
    )
    sampling: SamplingSettings = Field(
        default=SamplingSettings(), description="how samples are drawn"
    )

    @property
    def samples_per_rollout(self) -> int:
        """Samples that are drawn at once."""
        return self.effective_batch_size * self.steps_per_generation * self.num_generations

    def steps_an_epoch(self, num_rows: int) -> int:
        """Return the updates in which nearly every prompt is sampled after once."""
        rollouts = num_rows // (self.effective_batch_size * self.steps_per_generation)
        return rollouts * self.steps_per_generation * self.num_iterations

    def for_one_update(self, rows: int) -> Self:
        """Return the same for a training of one update, whose prompts these rows are."""
        update = {
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": 1,
            "total_train_batch_size": None,
            "steps_per_generation": 1,
        }
        return super().for_one_update(rows).model_copy(update=update)

    @model_validator(mode="after")
    def _weights_are_the_judges(self) -> Self:
        weights, judges = self.reward_weights, self.rewarded_by
        if weights is not None and len(weights) != len(judges or ("",)):
            raise ValueError(f"{len(weights)} reward_weights for {len(judges or ('',))} judges")
        return self

    @model_validator(mode="after")
    def _can_be_sampled_while_it_trains(self) -> Self:
        if self.lora is not None and self.lora_dropout > 0:
            raise ValueError("lora_dropout: the policy that learns must be the one that sampled: 0")
        if self.group_by_length:
            raise ValueError("group_by_length has no effect on prompts that are sampled after")
        if self.sampling.max_new_tokens >= self.max_length:
            raise ValueError(
                f"sampling.max_new_tokens {self.sampling.max_new_tokens} leaves no room for a"
                f" prompt in max_length {self.max_length}"
            )
        return self


class GroupSettings(OnlineSettings):
    """Settings of methods that compare a prompt's samples with one another."""

    num_generations: int = Field(
        default=4, ge=2, description="samples after each prompt, which are compared"
    )
    epsilon: float = Field(
        default=0.2, gt=0, description="how far a ratio of new and old probability may count"
    )
