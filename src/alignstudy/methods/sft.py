"""Supervised fine-tuning on chosen responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.encode import Encoded, encode_dialogues
from alignstudy.methods.method import Figures, Method, Objective, SettingsType
from alignstudy.methods.model_outputs import TextLogps
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

if TYPE_CHECKING:
    from torch import Tensor


class LearnsSettings(TrainingSettings):
    """Settings of every method that learns responses as they are.

    Names as in TRL's SFTConfig, but for `loss_on`.
    """

    loss_on: Literal["dialogue", "response"] = Field(
        default="response",
        description="the tokens that are learnt: the whole dialogue, prompt included, or only the"
        " last response",
    )
    packing: bool = Field(
        default=False,
        description="fill rows of max_length with several dialogues; refused unless the model"
        " provably keeps them apart",
    )

    @model_validator(mode="after")
    def _packed_rows_have_one_length(self) -> LearnsSettings:
        if self.packing and self.group_by_length:
            raise ValueError("group_by_length has no effect on packed rows; set one of the two")
        if self.packing and self.per_device_train_batch_size == "auto":
            raise ValueError("packed rows all have one length: give per_device_train_batch_size")
        return self


class SFTSettings(LearnsSettings):
    """How to fine-tune on chosen responses."""

    method: Literal["sft"] = Field(default="sft", description="supervised fine-tuning")


class LearnsTexts(Method[SettingsType]):
    """What methods share that raise the likelihood of texts."""

    branches = ("text",)

    @property
    def objective(self) -> Objective:
        """Negative log-likelihood, a mean over an update's targets."""
        return Objective(loss=negative_log_likelihood, mean_over="targets")

    def figures(self, batch: TextLogps, losses: Tensor) -> Figures:
        """Return how many targets no other token is likelier than."""
        del losses
        return {"mean_token_accuracy": (batch.hits.sum(), batch.targets.sum())}


class SFT(LearnsTexts[SFTSettings]):
    """Supervised fine-tuning: the likelihood of chosen responses is raised.

    Rejected responses are not read. It teaches a base to answer at all, and is what most preference
    methods are said to need before them; the control beside each method that also learns the chosen
    response. Source: arXiv 2203.02155.
    """

    settings_type = SFTSettings
    rows = "demonstrations"

    def encode(self, rows: Sequence[Pair], rendering: Rendering) -> Encoded:
        """Encode prompt and chosen response; targets as `loss_on` says."""
        asked = self.settings
        return encode_dialogues(rows, rendering, max_length=asked.max_length, loss_on=asked.loss_on)

    @property
    def packs(self) -> bool:
        """Whether the study asks for packed rows."""
        return self.settings.packing


def negative_log_likelihood(batch: TextLogps) -> Tensor:
    """Return each text's negative log-likelihood, a sum over its targets, in nats."""
    return batch.nll
