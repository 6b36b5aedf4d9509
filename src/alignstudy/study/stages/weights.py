"""Stages that compute weights from weights: an adapter merged, an average, an arc, ExPO."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.methods.expo import ExPOSettings
from alignstudy.methods.weights.mix import Slerp, WeightedSum, mix_weights
from alignstudy.methods.weights.save import merge_adapter
from alignstudy.models.digests import weights_digest
from alignstudy.records import Weights
from alignstudy.study.graph.stage import WEIGHTS, FolderOf, Stage, StageJob
from alignstudy.study.stages.base_models import ImportModel
from alignstudy.study.stages.data import write_json
from alignstudy.study.stages.settling import SettlesSettings, settled
from alignstudy.study.stages.train import RESULT, Train


@dataclass(frozen=True, kw_only=True)
class Merge(Stage):
    """Merge an adapter into its base, so that the next method starts from saved full weights.

    Attributes:
        factor: What its change is multiplied by: above 1 it is extrapolated.
        settled: What decides that when the study runs.
    """

    kind: ClassVar[str] = "merge"
    numeric: ClassVar[bool] = True
    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    adapter: Train
    factor: float = 1.0
    settled: tuple[SettlesSettings, ...] = ()

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write the merged weights; the guard compares logits before and after."""
        asked = settled(ExPOSettings(), self.settled, job.folder_of)
        factor = asked.factor if self.settled else self.factor
        outcome = merge_adapter(weights_of(self.adapter, job), job.out, factor=factor)
        write_json(job.out / RESULT, {"factor": factor, "guards": [asdict(outcome)]})
        return {"weights_sha256": weights_digest(job.out)}

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Count nothing: no row goes through a model."""
        return {"flops": 0.0}

    def model_files(self) -> Stage:
        """Return the adapter's stage."""
        return self.adapter


def weights_of(stage: Stage, job: StageJob) -> Weights:
    """Return where a model stage's weights lie, and its base's if it is an adapter."""
    if isinstance(stage, Train) and stage.is_adapter:
        return Weights(folder=job.folder_of(stage), base=job.folder_of(stage.parent))
    return Weights(folder=job.folder_of(stage))


@dataclass(frozen=True, kw_only=True)
class Mix(Stage):
    """Compute one model's weights from those of several; nothing is trained.

    Attributes:
        members: Full weights, from one base.
        rule: What is made of them, in their order.
        settled: What decides how far an extrapolation goes when the study runs.
    """

    kind: ClassVar[str] = "mix"
    numeric: ClassVar[bool] = True
    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    members: tuple[Stage, ...]
    rule: WeightedSum | Slerp
    settled: tuple[SettlesSettings, ...] = ()

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write the weights, and what the guard saw; configuration and tokenizer are a member's.

        A trained member's: its tokenizer has the template that it was trained with.
        """
        like = next(each for each in self.members if not isinstance(each, ImportModel))
        folders = [job.folder_of(member) for member in self.members]
        asked = settled(ExPOSettings(), self.settled, job.folder_of)
        rule = extrapolation(asked) if self.settled else self.rule
        outcome = mix_weights(folders, rule, job.out, like=job.folder_of(like))
        of = {"weights_sha256": [weights_digest(folder) for folder in folders]}
        how = {"rule": type(rule).__name__, **asdict(rule)}
        write_json(job.out / RESULT, {**how, "of": of, "guards": [asdict(outcome)]})
        return {"weights_sha256": weights_digest(job.out)}

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Count nothing: no row goes through a model."""
        return {"flops": 0.0}

    def model_files(self) -> Stage:
        """Return the first member."""
        return self.members[0]


def extrapolation(method: ExPOSettings) -> WeightedSum:
    """Return what goes on from where a method began (second) beyond what it made (first)."""
    return WeightedSum((method.factor, -method.alpha))
