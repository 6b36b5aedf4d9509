"""Direct preference optimization and its relatives, by loss name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from alignstudy.methods.losses import LOSSES, Divergence, Loss, divergence_of
from alignstudy.methods.method import Objective
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.preference import ComparesPairs, PreferenceSettings
from alignstudy.settings import Many

if TYPE_CHECKING:
    from torch import Tensor


class DPOSettings(PreferenceSettings):
    """How to optimize preferences by a loss on whole pairs (arXiv 2305.18290, and others by loss).

    Names as in TRL's DPOConfig, but for `method`, `simpo_gamma`.
    """

    method: Literal["dpo"] = Field(default="dpo", description="direct preference optimization")
    loss_type: Many[str] = Field(
        default=("sigmoid",),
        min_length=1,
        description="one loss of `alignstudy list losses`, or several whose sum is minimized",
    )
    loss_weights: Many[float] | None = Field(
        default=None, description="one weight per loss; null: 1 each"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of flipped preferences that the loss assumes"
    )
    f_divergence_type: Divergence = Field(
        default="reverse_kl", description="divergence from the reference (arXiv 2309.16240)"
    )
    f_alpha_divergence_coef: float = Field(
        default=0.5, description="of alpha_divergence, TRL's convention: 1 less the paper's alpha"
    )
    discopop_tau: float = Field(
        default=0.05, gt=0, description="temperature of discopop's blend (arXiv 2406.08414)"
    )
    simpo_gamma: float = Field(
        default=0.5, ge=0, description="SimPO's target margin, times beta (arXiv 2405.14734)"
    )

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The losses that are added."""
        return tuple(LOSSES[name] for name in self.loss_type)

    @model_validator(mode="before")
    @classmethod
    def _a_loss_has_defaults_of_its_own(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        named = given.get("loss_type", "sigmoid")
        names = (named,) if isinstance(named, str) else named
        own = [LOSSES[n].defaults for n in names if isinstance(n, str) and n in LOSSES]
        return {**{key: value for each in own for key, value in each.items()}, **given}

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
    def _every_setting_has_an_effect(self) -> DPOSettings:
        """Refuse what no loss heeds, and what one needs and hasn't."""
        named, losses = ", ".join(self.loss_type), self.losses
        heeded = {name for loss in losses for name in loss.heeds}
        for name, idle in _IDLE.items():
            if getattr(self, name) != idle and _PARAMETERS.get(name, name) not in heeded:
                of = [n for n, loss in LOSSES.items() if _PARAMETERS.get(name, name) in loss.heeds]
                raise ValueError(
                    f"{name} is ignored by {named}; it has a meaning in {', '.join(of)}"
                )
        deaf = [
            name
            for name, loss in zip(self.loss_type, losses, strict=True)
            if loss.needs_reference and "f" not in loss.heeds
        ]
        if self.f_divergence_type != "reverse_kl" and deaf:
            raise ValueError(f"f_divergence_type is ignored by {', '.join(deaf)}")
        if self.f_alpha_divergence_coef != 0.5 and self.f_divergence_type != "alpha_divergence":
            raise ValueError(
                "f_alpha_divergence_coef is ignored unless f_divergence_type: alpha_divergence"
            )
        for name, loss in zip(self.loss_type, losses, strict=True):
            lacking = [needed for needed in loss.needs if not getattr(self, needed)]
            if lacking:
                raise ValueError(f"{name} needs {lacking[0]} above 0")
        if self.reference != "parent" and not any(loss.needs_reference for loss in losses):
            raise ValueError(f"reference is ignored by {named}, which needs none")
        return self

    @model_validator(mode="after")
    def _sorted_batches_have_rows(self) -> DPOSettings:
        sorting = [name for name in self.loss_type if LOSSES[name].couples_rows == "order"]
        if sorting and 1 in (self.per_device_train_batch_size, self.effective_batch_size):
            raise ValueError(
                f"{', '.join(sorting)} sorts inside the micro-batch: with"
                " one row in it, it is plain DPO"
            )
        return self


_IDLE: dict[str, object] = {
    "label_smoothing": 0.0,
    "f_divergence_type": "reverse_kl",
    "discopop_tau": 0.05,
    "simpo_gamma": 0.5,
}
"""Settings of single losses, with the values that have no effect where no loss takes them."""

_PARAMETERS = {"f_divergence_type": "f"}
"""Setting -> what a loss takes it as, where the name is another."""


class DPO(ComparesPairs[DPOSettings]):
    """Direct preference optimization and its relatives, by loss: chosen likelier than rejected."""

    settings_type = DPOSettings

    @property
    def objective(self) -> Objective:
        """The weighted sum of the losses that the study names."""
        losses = self.settings.losses
        return Objective(
            loss=self._loss,
            couples_rows=any(loss.couples_rows for loss in losses),
            needs_reference=any(loss.needs_reference for loss in losses),
        )

    def _loss(self, batch: PairLogps) -> Tensor:
        asked = self.settings
        given = {
            **{name: getattr(asked, name) for name in ("beta", *_IDLE)},
            "f": divergence_of(asked.f_divergence_type, asked.f_alpha_divergence_coef),
        }
        weights = asked.loss_weights or (1.0,) * len(asked.losses)
        terms = [
            weight * loss.function(batch, **{name: given[name] for name in loss.heeds})
            for weight, loss in zip(weights, asked.losses, strict=True)
        ]
        return sum(terms[1:], start=terms[0])
