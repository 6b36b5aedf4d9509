"""Direct preference optimization and its relatives, by loss name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal

from pydantic import Field, field_validator, model_validator

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.loss_formulas import Divergence, LossOptions
from alignstudy.methods.losses import LOSSES
from alignstudy.settings import Many


class DPOSettings(TrainingSettings):
    """How to optimize preferences against a reference, which is always the parent model."""

    method: Literal["dpo"] = Field(default="dpo", description="direct preference optimization")
    learning_rate: float = Field(default=5e-6, gt=0, description="peak learning rate")
    dropout: Literal["off", "keep"] = Field(
        default="off",
        description="off: every dropout of the model is 0, so that policy and reference are"
        " compared without noise; keep: its configuration's (the published study)",
    )
    beta: float = Field(
        default=0.1, gt=0, description="strength of the KL penalty to the reference"
    )
    loss_type: Many[str] = Field(
        default=("sigmoid",),
        min_length=1,
        description="one loss, or several whose sum is minimized",
    )
    loss_weights: Many[float] | None = Field(
        default=None, description="one weight per loss; null: 1 each"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of flipped preferences that the loss assumes"
    )
    ld_alpha: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="LD-DPO: weight of tokens beyond the shorter response (arXiv 2409.06411)",
    )
    f_divergence_type: Divergence = Field(
        default="reverse_kl", description="divergence from the reference (arXiv 2309.16240)"
    )
    f_alpha_divergence_coef: float = Field(default=0.5, description="alpha of alpha_divergence")
    discopop_tau: float = Field(default=0.05, gt=0, description="temperature of discopop's blend")
    prefix_sharing: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: a pair's prompt is computed once for both responses, unless the model's"
        " own dropout is on; off: twice",
    )

    @property
    def in_order(self) -> bool:
        """Whether a loss depends on which rows share a micro-batch."""
        return any(name == "sft" or LOSSES[name].sorts_batch for name in self.loss_type)

    @property
    def options(self) -> LossOptions:
        """The numbers that the loss formulas depend on."""
        return LossOptions(
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            f_divergence_type=self.f_divergence_type,
            f_alpha_divergence_coef=self.f_alpha_divergence_coef,
            discopop_tau=self.discopop_tau,
        )

    @field_validator("loss_type", mode="before")
    @classmethod
    def _one_name_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("loss_type")
    @classmethod
    def _losses_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in LOSSES:
                close = get_close_matches(name, LOSSES, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise ValueError(f"unknown loss '{name}'{hint} known: {', '.join(LOSSES)}")
        if len(set(names)) < len(names):
            raise ValueError("a loss is named twice; use loss_weights")
        if set(names) == {"sft"}:
            raise ValueError("'sft' alone ignores beta and the reference; use the method sft")
        return names

    @model_validator(mode="after")
    def _every_loss_has_its_weight(self) -> DPOSettings:
        weights, number = self.loss_weights, len(self.loss_type)
        if weights is not None and len(weights) != number:
            raise ValueError(f"{len(weights)} loss_weights for {number} losses: give one each")
        if weights is not None and 0 in weights:
            raise ValueError("a loss of weight 0 is ignored: leave it out of loss_type")
        return self

    @model_validator(mode="after")
    def _smoothing_has_an_effect(self) -> DPOSettings:
        needs = {name: loss.label_smoothing for name, loss in LOSSES.items()}
        asked = [needs[name] for name in self.loss_type]
        if self.label_smoothing and set(asked) == {"ignored"}:
            users = [name for name, need in needs.items() if need != "ignored"]
            raise ValueError(
                f"label_smoothing is ignored by {', '.join(self.loss_type)}; it has a meaning in"
                f" {', '.join(users)}"
            )
        if "required" in asked and not self.label_smoothing:
            needing = [name for name in self.loss_type if needs[name] == "required"]
            raise ValueError(f"{', '.join(needing)} needs label_smoothing above 0")
        return self

    @model_validator(mode="after")
    def _divergence_has_an_effect(self) -> DPOSettings:
        others = [
            name for name in self.loss_type if name != "sft" and not LOSSES[name].f_divergence
        ]
        if self.f_divergence_type != "reverse_kl" and others:
            raise ValueError(f"f_divergence_type is ignored by {', '.join(others)}")
        if self.f_alpha_divergence_coef != 0.5 and self.f_divergence_type != "alpha_divergence":
            raise ValueError(
                "f_alpha_divergence_coef is ignored unless f_divergence_type: alpha_divergence"
            )
        if self.discopop_tau != 0.05 and "discopop" not in self.loss_type:
            raise ValueError("discopop_tau is ignored unless discopop is among the losses")
        return self

    @model_validator(mode="after")
    def _sorted_batches_have_rows(self) -> DPOSettings:
        sorting = [name for name in self.loss_type if LOSSES[name].sorts_batch]
        if sorting and 1 in (self.per_device_train_batch_size, self.effective_batch_size):
            raise ValueError(
                f"{', '.join(sorting)} sorts inside the micro-batch: with"
                " one row in it, it is plain DPO"
            )
        return self
