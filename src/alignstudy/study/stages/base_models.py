"""Stages that bring a model that isn't trained: read as it is, or a shape without weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.methods.weights.save import merge_adapter
from alignstudy.methods.weights.scratch import (
    ArchitectureSettings,
    TokenizerSettings,
    build_scratch_model_folder,
)
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import weights_in
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.sources import ResolvedSource
from alignstudy.study.cost.model_shape import ModelShape, shape_of_architecture
from alignstudy.study.graph.stage import WEIGHTS, Stage, StageJob
from alignstudy.study.stages.data import CollectRows
from alignstudy.study.stages.sources import read_part


@dataclass(frozen=True, kw_only=True)
class ImportModel(Stage):
    """Read the base, or a model that isn't trained here, and save it as safetensors."""

    kind: ClassVar[str] = "base"
    numeric: ClassVar[bool] = True
    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    source: ResolvedSource
    dtype: str

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write full weights and the tokenizer in Hugging Face layout."""
        job.progress.start(f"reading {self.source.source.name}")
        weights = weights_in(self.source.path)
        if weights.base is not None:
            merge_adapter(weights, job.out)
        else:
            model = load_causal_lm(weights, dtype=self.dtype)
            model.save_pretrained(job.out)
            load_tokenizer(weights.folder, check_rows=False).save_pretrained(job.out)
        job.progress.finish()
        return {"weights_sha256": weights_digest(job.out)}

    def model_files(self) -> Path:
        """Return the source's folder; of an adapter its base's."""
        weights = weights_in(self.source.path)
        return weights.base or weights.folder


@dataclass(frozen=True, kw_only=True)
class ScratchModel(Stage):
    """Make the folder of a model that holds no weights yet: its shape and its tokenizer."""

    kind: ClassVar[str] = "scratch"
    numeric: ClassVar[bool] = True
    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings
    rows: CollectRows

    def run(self, job: StageJob) -> dict[str, Any]:
        """Train the tokenizer on the rows' text; write config.json next to it."""
        rows = read_part(self.rows, job.folder_of(self.rows))
        texts = [text for row in rows for text in row.texts]
        build_scratch_model_folder(
            self.architecture, job.out, tokenizer=self.tokenizer, texts=texts
        )
        return {"texts": len(texts)}

    def model_shape(self) -> ModelShape:
        """Return the architecture's shape, its vocabulary as large as it may become."""
        return shape_of_architecture(self.architecture, vocabulary=self.tokenizer.vocab_size)
