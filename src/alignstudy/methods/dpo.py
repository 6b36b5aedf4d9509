"""Direct preference optimization and its relatives, by loss name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from alignstudy.methods.losses import divergence_of
from alignstudy.methods.method import Objective
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.pair_losses import OF_LOSSES, PairLossSettings
from alignstudy.methods.preference import ComparesPairs, PreferenceSettings

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH_TO_SORT = 16
"""Rows of a micro-batch from which on its order says something of the data's distribution."""


class DPOSettings(PairLossSettings, PreferenceSettings):
    """How to optimize preferences by a loss on whole pairs (arXiv 2305.18290, and others by loss).

    Names as in TRL's DPOConfig and CPOConfig, but for `method` and the losses' own.
    """

    method: Literal["dpo"] = Field(default="dpo", description="direct preference optimization")

    @model_validator(mode="after")
    def _a_reference_is_read(self) -> DPOSettings:
        if self.reference != "parent" and not any(loss.needs_reference for loss in self.losses):
            named = ", ".join(self.loss_type)
            raise ValueError(f"reference is ignored by {named}, which needs none")
        return self


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
            compares_vocabulary=any(loss.compares_vocabulary for loss in losses),
            weighs_pairs=self.settings.use_weighting or any(loss.weighs_pairs for loss in losses),
            state=self.state,
            unbounded=self.settings.is_unbounded,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Which settings are far from all that is known to be good, or mean something unusual."""
        asked, found = self.settings, list[str]()
        given, at_once = asked.model_dump(), asked.per_device_train_batch_size
        for name, loss in zip(asked.loss_type, asked.losses, strict=True):
            found += [f"{name}: {text}" for text in loss.far_off(given)]
            if loss.couples_rows == "order" and at_once != "auto" and at_once < ENOUGH_TO_SORT:
                found.append(
                    f"{name} compares the rows of a micro-batch: {at_once} are few,"
                    f" {ENOUGH_TO_SORT} or more are advised"
                )
        if asked.f_divergence_type == "alpha_divergence":
            alpha = asked.f_alpha_divergence_coef
            found.append(
                f"alpha_divergence: f_alpha_divergence_coef {alpha:g} is TRL's convention; the"
                f" paper's alpha is {1 - alpha:g} (arXiv 2309.16240)"
            )
        return tuple(found)

    def _loss(self, batch: PairLogps) -> Tensor:
        asked, state = self.settings, self.state.at_hand()
        given = {name: getattr(asked, name) for name in OF_LOSSES}
        given["f"] = divergence_of(asked.f_divergence_type, asked.f_alpha_divergence_coef)
        weights = asked.loss_weights or (1.0,) * len(asked.losses)
        terms = [
            weight * loss.of(batch, given, state)
            for weight, loss in zip(weights, asked.losses, strict=True)
        ]
        total = sum(terms[1:], start=terms[0])
        if asked.use_weighting:
            assert batch.likelihoods is not None
            total = total * batch.likelihoods
        return total
