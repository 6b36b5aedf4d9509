"""The stage that measures how far a model moved from the base."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.generation.diagnostics import DiagnosticSettings, diverge
from alignstudy.generation.implicit import implicit_accuracy
from alignstudy.methods.batches.encode import preference_ids
from alignstudy.records import Estimate
from alignstudy.records.evidence import Divergence
from alignstudy.study.cost.work import LONG_TEXT, ROWS_AT_ONCE, Footprint
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.stages.data import (
    VALIDATION_PAIRS,
    SelectPrompts,
    read_pairs,
    read_prompts,
    write_json,
)
from alignstudy.study.stages.train import weights_of

DIVERGENCE = "divergence.json"


@dataclass(frozen=True, kw_only=True)
class Diagnose(Stage):
    """Measure KL to the base, entropy, and implicit-reward accuracy of one model.

    Attributes:
        model: The model.
        base: What it is compared with; None for the base itself.
        reference: The model that its preference training started from; None where the recipe
            doesn't end in a preference method, or there are no held-out pairs.
        max_length: Of a pair, as in training.
        template: How prompts are written.
    """

    kind: ClassVar[str] = "diagnose"
    numeric: ClassVar[bool] = True
    label: str
    seed: int
    model: Stage
    base: Stage | None
    reference: Stage | None
    max_length: int | None
    prompts: SelectPrompts
    settings: DiagnosticSettings
    max_new_tokens: int
    template: str

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write divergence.json."""
        folder = job.folder_of(self.prompts)
        found = diverge(
            weights_of(self.model, job),
            None if self.base is None else weights_of(self.base, job),
            read_prompts(folder),
            self.settings,
            model=self.label,
            seed=self.seed,
            device=job.device,
            max_new_tokens=self.max_new_tokens,
            progress=job.progress,
            template=self.template,
        )
        if self.reference is not None:
            pairs = [
                pair for rows in read_pairs(folder, VALIDATION_PAIRS).values() for pair in rows
            ]
            accuracy = implicit_accuracy(
                weights_of(self.model, job),
                weights_of(self.reference, job),
                pairs,
                encode=preference_ids,
                max_length=self.max_length,
                device=job.device,
                progress=job.progress,
                template=self.template,
            )
            found = replace(found, implicit_accuracy=accuracy)
        write_json(job.out / DIVERGENCE, asdict(found))
        return {}

    def footprint(self) -> Footprint | None:
        """Count the weights, and the keys and values of a batch of samples."""
        shape = self.model.model_shape()
        if shape is None:
            return None
        rows, length = self.settings.batch_size or ROWS_AT_ONCE, LONG_TEXT + self.max_new_tokens
        return Footprint(shape=shape, rows=rows, length=length)


def read_divergence(folder: Path) -> Divergence:
    """Read a finished Diagnose."""
    found = json.loads((folder / DIVERGENCE).read_text(encoding="utf-8"))
    revived: dict[str, Any] = {
        name: Estimate(**value) if isinstance(value, dict) else value
        for name, value in found.items()
    }
    return Divergence(**revived)
