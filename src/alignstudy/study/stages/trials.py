"""Stages of trials: prompts that only choose, and models that are only tried."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random
from typing import Any, ClassVar

from alignstudy.data.select.prompt_settings import numbered
from alignstudy.data.select.rigorous import askable
from alignstudy.errors import GuardError
from alignstudy.formatting import plural
from alignstudy.metrics.axes import axis_named
from alignstudy.records import write_rows
from alignstudy.study.graph.stage import StageJob
from alignstudy.study.settings.tune import LEAST_PROMPTS
from alignstudy.study.stages.data import VALIDATION_PAIRS, SelectPrompts, read_pairs
from alignstudy.study.stages.sources import PROMPTS, PromptSource
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.weights import Mix


@dataclass(frozen=True, kw_only=True)
class TuningPrompts(PromptSource):
    """Take the validation pairs' prompts: no training row, test prompt or calibration pair.

    Attributes:
        prompts: What sets the pairs aside.
        axes: Whose prompts are asked.
        most: Of each axis.
    """

    kind: ClassVar[str] = "tuning-prompts"
    prompts: SelectPrompts
    axes: tuple[str, ...]
    most: int

    @property
    def expected(self) -> int:
        """As many of each axis."""
        return self.most * len(self.axes)

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write prompts.jsonl.

        Raises:
            GuardError: If there are too few to choose on.
        """
        pairs, found = read_pairs(job.folder_of(self.prompts), VALIDATION_PAIRS), []
        for name in self.axes:
            axis, (rows, _) = axis_named(name), askable(pairs.get(name, []), ())
            if len(rows) < LEAST_PROMPTS:
                raise GuardError(
                    f"{plural(len(rows), 'validation prompt')} of {axis.prompts} can't choose"
                    " settings",
                    why=f"it takes {LEAST_PROMPTS} that differ, and that end in a human turn",
                    hint="take more validation pairs: `validation: {n: ...}`, or another split",
                )
            drawn = Random(f"tuning {name}").sample(rows, min(self.most, len(rows)))
            found += [
                numbered(axis, number, row.prompt, row.id) for number, row in enumerate(drawn)
            ]
        write_rows(job.out / PROMPTS, found)
        return {"prompts": len(found)}


@dataclass(frozen=True, kw_only=True)
class TriedTraining(Train):
    """A training of a trial: one that a guard refuses is a result."""

    kind: ClassVar[str] = "trial"
    tried: ClassVar[bool] = True

    @classmethod
    def like(cls, stage: Train) -> TriedTraining:
        """Return the same training as one that is tried."""
        return cls(**{item.name: getattr(stage, item.name) for item in fields(stage)})

    def likeness(self) -> str:
        """Name what a training names: a trial takes as long."""
        return super().likeness().replace(self.kind, Train.kind, 1)


@dataclass(frozen=True, kw_only=True)
class TriedMix(Mix):
    """Weights of a trial: ones that can't be computed are a result."""

    kind: ClassVar[str] = "trial-mix"
    tried: ClassVar[bool] = True
