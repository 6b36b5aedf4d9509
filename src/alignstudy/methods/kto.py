"""Kahneman-Tversky optimization on pairs: each response alone is desirable, or is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from alignstudy.methods.batches.encode import Encoded, with_mismatched
from alignstudy.methods.method import Figures, Objective
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.preference import ComparesPairs, PreferenceSettings
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

if TYPE_CHECKING:
    from torch import Tensor


class KTOSettings(PreferenceSettings):
    """How to optimize single responses against a reference (arXiv 2402.01306).

    Names as in TRL's KTOConfig, but for `method`.
    """

    method: Literal["kto"] = Field(default="kto", description="Kahneman-Tversky optimization")
    desirable_weight: float = Field(default=1.0, gt=0, description="weight of chosen responses")
    undesirable_weight: float = Field(default=1.0, gt=0, description="weight of rejected responses")

    @model_validator(mode="after")
    def _micro_batches_have_rows(self) -> KTOSettings:
        if 1 in (self.per_device_train_batch_size, self.effective_batch_size):
            raise ValueError(
                "kto estimates the distance from the reference inside the micro-batch: give"
                " per_device_train_batch_size 4 or more"
            )
        return self


class KTO(ComparesPairs[KTOSettings]):
    """Kahneman-Tversky optimization: each response gains or loses against the mean shift."""

    settings_type = KTOSettings
    branches = ("chosen", "rejected", "mismatched")
    measured = ("mismatched",)

    def encode(self, rows: Sequence[Pair], rendering: Rendering) -> Encoded:
        """Encode pairs, and to each prompt a response to another: it measures the mean shift."""
        encoded = super().encode(rows, rendering)
        return with_mismatched(encoded, max_length=self.settings.max_length)

    @property
    def objective(self) -> Objective:
        """KTO's value of gain and loss, a mean over a pair's two responses.

        Source: arXiv 2402.01306, eq. 8; its reference point is estimated in each micro-batch, on
        prompts with mismatched responses, clamped at 0, and not differentiated.
        """
        return Objective(loss=self._loss, couples_rows=True, needs_reference=True)

    def _loss(self, batch: PairLogps) -> Tensor:
        asked, shift = self.settings, mean_shift(batch)
        gain = 1 - (asked.beta * (batch.a - shift)).sigmoid()
        loss = 1 - (asked.beta * (shift - batch.b)).sigmoid()
        return (asked.desirable_weight * gain + asked.undesirable_weight * loss) / 2

    def figures(self, batch: PairLogps, losses: Tensor) -> Figures:
        """Return the pairs' figures, and the shift."""
        return super().figures(batch, losses) | {"kl": (mean_shift(batch), 1)}


def mean_shift(batch: PairLogps) -> Tensor:
    """Return the reference point: the mean log-ratio on mismatched responses, at least 0."""
    assert batch.mismatched is not None
    assert batch.ref_mismatched is not None
    return (batch.mismatched - batch.ref_mismatched).mean().clamp(min=0).detach()
