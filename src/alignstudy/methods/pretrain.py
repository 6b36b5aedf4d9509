"""Pretraining of a small language model on plain documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.encode import Encoded, encode_texts
from alignstudy.methods.sft import LearnsTexts
from alignstudy.models.rendering import Rendering
from alignstudy.records import Document


class PretrainSettings(TrainingSettings):
    """How to pretrain; every token of a document is learnt, its end included."""

    method: Literal["pretrain"] = Field(default="pretrain", description="a model from scratch")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="cosine", description="how the learning rate falls after the warm-up"
    )
    warmup_steps: float = Field(
        default=0.05, ge=0, description="steps of linear warm-up; below 1: the share of all steps"
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's decoupled weight decay")
    per_device_train_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default=16,
        description="most rows a micro-batch; auto: as many of an update's as memory holds",
    )
    group_by_length: bool = Field(
        default=True, description="batches of rows of like length: less padding, another order"
    )
    lora: None = Field(default=None, description="always null: full weights are trained")


class Pretrain(LearnsTexts[PretrainSettings]):
    """Pretraining: a language model learns plain documents, from random weights or given ones."""

    settings_type = PretrainSettings
    rows = "documents"
    in_recipes = False

    def encode(self, rows: Sequence[Document], rendering: Rendering) -> Encoded:
        """Encode whole documents, every token a target."""
        texts = [(row.id, row.text) for row in rows]
        return encode_texts(texts, rendering, max_length=self.settings.max_length)
