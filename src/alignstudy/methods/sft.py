"""Supervised fine-tuning on chosen responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from alignstudy.methods.base import TrainingSettings


class SFTSettings(TrainingSettings):
    """How to fine-tune on chosen responses."""

    method: Literal["sft"] = Field(default="sft", description="supervised fine-tuning")
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
    def _packed_rows_have_one_length(self) -> SFTSettings:
        if self.packing and self.group_by_length:
            raise ValueError("group_by_length has no effect on packed rows; set one of the two")
        if self.packing and self.per_device_train_batch_size == "auto":
            raise ValueError("packed rows all have one length: give per_device_train_batch_size")
        return self
