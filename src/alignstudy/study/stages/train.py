"""Stages that make weights: the base, one method applied to it, an adapter merged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.methods import METHODS, TrainingSettings, TrainJob
from alignstudy.methods.base import METRICS_FILE
from alignstudy.methods.weights.merge import merge_adapter
from alignstudy.methods.weights.scratch import (
    ArchitectureSettings,
    TokenizerSettings,
    build_scratch_model_folder,
)
from alignstudy.models.digests import weights_digest
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Document, Pair, Weights, read_rows
from alignstudy.sources import ResolvedSource
from alignstudy.study.graph.fingerprint import not_in_key
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.stages.data import ROWS, CollectRows, write_json

RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class ImportBase(Stage):
    """Read the base as the study states its precision, and save it as safetensors."""

    kind: ClassVar[str] = "base"
    numeric: ClassVar[bool] = True
    source: ResolvedSource
    dtype: str

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write the weights and the tokenizer in Hugging Face layout."""
        job.progress.start(f"reading {self.source.source.name}")
        model = load_causal_lm(Weights(folder=self.source.path), dtype=self.dtype)
        model.save_pretrained(job.out)
        load_tokenizer(self.source.path).save_pretrained(job.out)
        job.progress.finish()
        return {"weights_sha256": weights_digest(job.out)}


@dataclass(frozen=True, kw_only=True)
class ScratchModel(Stage):
    """Make the folder of a model that holds no weights yet: its shape and its tokenizer."""

    kind: ClassVar[str] = "scratch"
    numeric: ClassVar[bool] = True
    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings
    rows: CollectRows

    def run(self, job: StageJob) -> dict[str, Any]:
        """Train the tokenizer on the rows' text; write config.json beside it."""
        texts = [text for row in _rows(self.rows, job) for text in _texts(row)]
        build_scratch_model_folder(
            self.architecture, job.out, tokenizer=self.tokenizer, texts=texts
        )
        return {"texts": len(texts)}


def _rows(stage: CollectRows, job: StageJob) -> list[Pair] | list[Document]:
    return read_part(stage, job.folder_of(stage) / ROWS)


def read_part(stage: CollectRows, path: Path) -> list[Pair] | list[Document]:
    """Read the rows of one part of the data."""
    if stage.rows == "pairs":
        return list(read_rows(path, Pair))
    return list(read_rows(path, Document))


def _texts(row: Pair | Document) -> list[str]:
    if isinstance(row, Document):
        return [row.text]
    return [row.prompt + response for response in (row.chosen, row.rejected) if response]


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """Apply one method to a parent's saved weights."""

    kind: ClassVar[str] = "train"
    numeric: ClassVar[bool] = True
    label: str = not_in_key(default="")
    settings: TrainingSettings
    parent: Stage
    rows: CollectRows
    seed: int

    @property
    def is_adapter(self) -> bool:
        """Whether the artefact is an adapter, its base being the parent."""
        return self.settings.lora is not None

    def run(self, job: StageJob) -> dict[str, Any]:
        """Train; write the model, metrics.jsonl, and what happened."""
        method = METHODS.load(self.settings.method)
        result = method.train(self.job(job, rows=_rows(self.rows, job)))
        write_json(job.out / RESULT, asdict(result))
        facts = {"steps": result.steps, "tokens": result.num_tokens}
        return {**facts, "weights_sha256": weights_digest(job.out)}

    def job(self, job: StageJob, *, rows: list[Pair] | list[Document]) -> TrainJob:
        """Write what the method is asked to do."""
        return TrainJob(
            settings=self.settings,
            parent=job.folder_of(self.parent),
            rows=rows,
            seed=self.seed,
            out=job.out,
            work=job.work,
            digest=self.key,
            device=job.device,
            references=job.references,
            progress=job.progress,
            should_stop=job.should_stop,
        )


@dataclass(frozen=True, kw_only=True)
class Merge(Stage):
    """Merge an adapter into its base, so that the next method starts from saved full weights."""

    kind: ClassVar[str] = "merge"
    numeric: ClassVar[bool] = True
    adapter: Train

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write the merged weights; the guard compares logits before and after."""
        outcome = merge_adapter(weights_of(self.adapter, job), job.out)
        write_json(job.out / RESULT, {"guards": [asdict(outcome)]})
        return {"weights_sha256": weights_digest(job.out)}


def weights_of(stage: Stage, job: StageJob) -> Weights:
    """Return where a model stage's weights lie, and its base's if it is an adapter."""
    if isinstance(stage, Train) and stage.is_adapter:
        return Weights(folder=job.folder_of(stage), base=job.folder_of(stage.parent))
    return Weights(folder=job.folder_of(stage))


def training_rows(stage: Train, job: StageJob, num_rows: int) -> list[Any]:
    """Return the first rows that a stage trains on."""
    return list(_rows(stage.rows, job))[:num_rows]


def read_result(stage: Stage, job: StageJob) -> dict[str, Any]:
    """Read what happened in a finished training or merge."""
    return dict(json.loads((job.folder_of(stage) / RESULT).read_text(encoding="utf-8")))


def read_curve(stage: Stage, job: StageJob) -> list[dict[str, Any]]:
    """Read a finished training's metrics, a record a logged step."""
    path = job.folder_of(stage) / METRICS_FILE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
