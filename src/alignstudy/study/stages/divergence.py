"""The stage that measures how far a model moved from the base."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.generation.diagnostics import DiagnosticSettings, diverge, share_tokens
from alignstudy.generation.implicit import implicit_accuracy
from alignstudy.methods.batches.encode import preference_ids
from alignstudy.records import Estimate
from alignstudy.records.evidence import Divergence
from alignstudy.study.cost.memory import Footprint
from alignstudy.study.cost.work import LONG_TEXT, ROWS_AT_ONCE
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.stages.base_models import ImportModel
from alignstudy.study.stages.data import VALIDATION_PAIRS, SelectPrompts, read_pairs, write_json
from alignstudy.study.stages.sources import read_prompts
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.weights import weights_of

DIVERGENCE = "divergence.json"
OTHER_TOKENS = "its tokens are not the base's: no divergence is defined; entropies don't compare"


@dataclass(frozen=True, kw_only=True)
class Diagnose(Stage):
    """Measure KL to the base, entropy, and implicit-reward accuracy of one model.

    Attributes:
        model: The model.
        base: What it is compared with; None for the base itself. Of a model that isn't trained here
            and has other tokens only the entropy is measured.
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
        folder, policy = job.folder_of(self.prompts), weights_of(self.model, job)
        base = None if self.base is None else weights_of(self.base, job)
        is_foreign = False
        if base is not None and isinstance(self.model, ImportModel):
            is_foreign = not share_tokens(policy, base)
        found = diverge(
            policy,
            None if is_foreign else base,
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
                policy,
                weights_of(self.reference, job),
                pairs,
                encode=preference_ids,
                max_length=self.max_length,
                device=job.device,
                progress=job.progress,
                template=self.template,
                in_4bit=isinstance(self.model, Train) and self.model.settings.in_4bit,
            )
            found = replace(found, implicit_accuracy=accuracy)
        if is_foreign:
            found = replace(found, note="; ".join(filter(None, [OTHER_TOKENS, found.note])))
        write_json(job.out / DIVERGENCE, asdict(found))
        return {}

    def footprint(self) -> Footprint | None:
        """Count the weights, and the keys and values of a batch of samples.

        The base that it is compared with is held in full, whatever the model's own is.
        """
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
