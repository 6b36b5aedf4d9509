"""The model that a study starts from: named, or made from scratch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from alignstudy.data.select.selection import RowSelection
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.weights.scratch import ArchitectureSettings, TokenizerSettings
from alignstudy.settings import Settings


class ScratchBase(Settings):
    """A small model pretrained from scratch, so that a study needs no download."""

    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    rows: RowSelection = Field(RowSelection(), description="What it is pretrained on.")
    pretrain: PretrainSettings = PretrainSettings()
    seed: int = Field(0, ge=0, description="Of its weights; not varied by `seeds`.")


class BaseModelSettings(Settings):
    """The model that every recipe starts from."""

    path: str | None = Field(None, description="Hub id, or a folder in Hugging Face layout.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    dtype: Literal["float32"] = Field(
        "float32", description="Precision that it is read and trained in, whatever the file's is."
    )
    scratch: ScratchBase | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> BaseModelSettings:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("give `path` (a hub id or folder) or `scratch`, and not both")
        return self
