"""Losses on whole pairs as settings: which is minimized, and what it takes."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from alignstudy.errors import likely_meant
from alignstudy.methods.losses import ADDED, LOSSES, Divergence, Loss
from alignstudy.methods.preference import PenalizedSettings
from alignstudy.settings import Many

PAIR_LOSSES = {name: loss for name, loss in LOSSES.items() if loss.method == "dpo"}
"""Losses that a label in a study file names."""


class PairLossSettings(PenalizedSettings):
    """A loss on whole pairs, or several that are added, each with its authors' defaults.

    Names as in TRL's DPOConfig and CPOConfig, but for `rpo_alpha`, `beta_rejected`,
    `dpop_lambda`, `length_alpha`, `beta_dpo_alpha`, `beta_dpo_drop`, `alphapo_alpha`,
    `asft_lambda`, `slic_delta`, `slic_lambda`, `tdpo_alpha`.
    """

    loss_type: Many[str] = Field(
        default=("sigmoid",),
        min_length=1,
        description="one loss of `alignstudy list losses`, or several whose sum is minimized",
    )
    loss_weights: Many[float] | None = Field(
        default=None, description="one weight per loss; null: 1 each"
    )
    use_weighting: bool = Field(
        default=False,
        description="WPO: weight pairs by how likely they are for the policy (arXiv 2406.11827)",
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
    rpo_alpha: float = Field(
        default=1.0, gt=0, description="rpo's weight of the likelihood of chosen (arXiv 2404.19733)"
    )
    beta_rejected: float = Field(
        default=0.08, gt=0, description="flex' beta of the rejected side (arXiv 2406.07327)"
    )
    dpop_lambda: float = Field(
        default=50.0, ge=0, description="dpop's weight of a fall of chosen (arXiv 2402.13228)"
    )
    length_alpha: float = Field(
        default=0.01, ge=0, description="rdpo's advantage of each token more (arXiv 2403.19159)"
    )
    beta_dpo_alpha: float = Field(
        default=0.6, ge=0, description="how far beta_dpo's beta follows margins (arXiv 2407.08639)"
    )
    tdpo_alpha: float = Field(
        default=0.5, gt=0, description="tdpo2's weight of distances (arXiv 2404.11999)"
    )
    beta_dpo_drop: float = Field(
        default=0.2, ge=0, lt=1, description="share of a micro-batch's pairs that beta_dpo leaves"
    )
    simpo_gamma: float = Field(
        default=1.0, ge=0, description="SimPO's target margin, times beta (arXiv 2405.14734)"
    )
    cpo_alpha: float = Field(
        default=1.0, ge=0, description="cpo's weight of the likelihood of chosen (arXiv 2401.08417)"
    )
    alphapo_alpha: float = Field(
        default=0.25,
        description="bend of alphapo's reward, not 0; TRL's `alpha` (arXiv 2501.03884)",
    )
    asft_lambda: float = Field(
        default=1.0, gt=0, description="asft's weight of the alignment (arXiv 2409.10571)"
    )
    slic_delta: float = Field(
        default=1.0, ge=0, description="slic's margin, in nats (arXiv 2305.10425)"
    )
    slic_lambda: float = Field(
        default=0.1, ge=0, description="slic's weight of the likelihood of chosen"
    )

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The losses that are added."""
        return tuple(PAIR_LOSSES[name] for name in self.loss_type)

    @model_validator(mode="before")
    @classmethod
    def _a_loss_has_defaults_of_its_own(cls, given: object) -> object:
        """Fill in what is not given, as the losses' authors have it.

        Raises:
            ValueError: If two losses that are added have different defaults.
        """
        if not isinstance(given, dict):
            return given
        named = given.get("loss_type", "sigmoid")
        listed = named if isinstance(named, list | tuple) else (named,)
        names = [name for name in listed if isinstance(name, str) and name in PAIR_LOSSES]
        filled: dict[str, Any] = {}
        for name in names:
            loss = PAIR_LOSSES[name]
            own = {key: loss.defaults.get(key, _default(key)) for key in loss.heeds if key != "f"}
            for key, value in own.items():
                if filled.get(key, value) != value and key not in given:
                    raise ValueError(
                        f"give {key}: by itself it is {filled[key]:g} for one of"
                        f" {', '.join(names)} and {value:g} for another"
                    )
                filled[key] = value
        return {**filled, **given}

    @field_validator("loss_type", mode="before")
    @classmethod
    def _one_name_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("loss_type")
    @classmethod
    def _losses_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in PAIR_LOSSES:
                meant = likely_meant(name, PAIR_LOSSES)
                hint = f"; did you mean '{meant}'?" if meant else ""
                raise ValueError(f"unknown loss '{name}'{hint}; known: {', '.join(PAIR_LOSSES)}")
        if len(set(names)) < len(names):
            raise ValueError("a loss is named twice; use loss_weights")
        if ADDED.issuperset(names):
            raise ValueError(
                f"{' and '.join(names)} alone ignores rejected responses; use the method sft"
            )
        return names

    @model_validator(mode="after")
    def _every_loss_has_its_weight(self) -> PairLossSettings:
        weights, number = self.loss_weights, len(self.loss_type)
        if weights is not None and len(weights) != number:
            raise ValueError(f"{len(weights)} loss_weights for {number} losses: give one each")
        if weights is not None and 0 in weights:
            raise ValueError("a loss of weight 0 is ignored: leave it out of loss_type")
        if self.alphapo_alpha == 0:
            raise ValueError("alphapo_alpha 0 is SimPO: name the loss simpo")
        return self

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> PairLossSettings:
        """Refuse what no loss heeds, and what one needs and hasn't."""
        named, losses = ", ".join(self.loss_type), self.losses
        heeded = {name for loss in losses for name in loss.heeds}
        for name, taken_as in OF_LOSSES.items():
            if getattr(self, name) != _default(name) and taken_as not in heeded:
                of = [n for n, loss in PAIR_LOSSES.items() if taken_as in loss.heeds]
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
                raise ValueError(f"{name} needs {lacking[0]}, above 0")
        return self

    @model_validator(mode="after")
    def _measures_have_a_meaning(self) -> PairLossSettings:
        """Refuse weights and distances of what no source gives them a meaning for."""
        pairs = list(zip(self.loss_type, self.losses, strict=True))
        coupled = [name for name, loss in pairs if loss.couples_rows]
        weighted = [name for name, loss in pairs if loss.weighs_pairs]
        if self.use_weighting and coupled:
            raise ValueError(f"use_weighting has no meaning in {coupled[0]}: no loss is one pair's")
        if self.use_weighting and weighted:
            raise ValueError(f"{weighted[0]} weights its pairs itself: leave use_weighting out")
        apart = [name for name, loss in pairs if loss.compares_vocabulary]
        if self.ld_alpha is not None and apart:
            raise ValueError(f"ld_alpha has no meaning in {apart[0]}: it weights no distances")
        return self

    @model_validator(mode="after")
    def _steps_and_micro_batches_suit(self) -> PairLossSettings:
        """Refuse micro-batches in which a loss is another one, and losses that nothing stops."""
        comparing = [name for name in self.loss_type if LOSSES[name].couples_rows == "order"]
        if comparing and 1 in (self.per_device_train_batch_size, self.effective_batch_size):
            raise ValueError(
                f"{', '.join(comparing)} compares the rows of a micro-batch: with one row in it, it"
                " is another loss; give per_device_train_batch_size, 16 or more"
            )
        coupled = [name for name in self.loss_type if LOSSES[name].keeps_state]
        if (comparing or coupled) and self.per_device_train_batch_size == "auto":
            raise ValueError(
                f"{', '.join(comparing or coupled)} depends on which rows make a micro-batch: give"
                " per_device_train_batch_size instead of auto"
            )
        if self.is_unbounded and not self.probe_pairs:
            raise ValueError(
                f"{', '.join(self.loss_type)} has no lower bound: give probe_pairs, on which"
                " training is stopped where chosen responses are lost"
            )
        return self

    @property
    def is_unbounded(self) -> bool:
        """Whether nothing but the number of steps keeps the sum of the losses from falling."""
        falls = any(weight < 0 for weight in self.loss_weights or ())
        return falls or any(loss.unbounded for loss in self.losses)


def _default(name: str) -> Any:  # noqa: ANN401 - of any setting
    return PairLossSettings.model_fields[name].default


OF_LOSSES = {
    {"f": "f_divergence_type"}.get(name, name): name
    for name in sorted({name for loss in PAIR_LOSSES.values() for name in loss.heeds})
}
"""Setting of single losses -> what they take it as."""
