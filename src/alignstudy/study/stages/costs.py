"""Stages that count what trainings and their samples take.

They count what would be computed if nothing had been kept and nothing interrupted: a cost doesn't
depend on what a run finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from alignstudy.methods.base import WorkDone
from alignstudy.methods.loop.arguments import planned_steps
from alignstudy.records import StopReason
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.cost.token_lengths import NotCountableError
from alignstudy.study.cost.training import training_flops
from alignstudy.study.cost.work import total_flops
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.stages.data import write_json
from alignstudy.study.stages.generate import Generate, ScoreResponses, read_responses
from alignstudy.study.stages.train import RESULT, Train

if TYPE_CHECKING:
    from alignstudy.methods.loop.ahead import WorkAhead

COST = "cost.json"
_EXPECTED: dict[str, Cost] = {}
"""By key: a plan asks for the same cost in every training that is fitted to it."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What trainings, or the samples for them, take; two add up.

    Attributes:
        flops: By what computes: "training", "samples", "scores"; None: the model's sizes aren't
            known.
        tokens: Positions that training puts through the policy, padding left out.
        pairs: Rows that training reads, one that is read again counted again.
        targets: Tokens that are learnt from.
        steps: Updates.
        epochs: Passes of the training over its rows.
        samples: Responses that were drawn to train on.
        scored: Different ones that a judge read.
    """

    flops: dict[str, float | None]
    tokens: int = 0
    pairs: int = 0
    targets: int = 0
    steps: int = 0
    epochs: float = 0.0
    samples: int = 0
    scored: int = 0


class CountsCost(Stage):
    """A stage whose artefact holds cost.json."""

    def expected(self, folder_of: FolderOf) -> Cost:
        """Return about what it will count, of what is made already.

        Raises:
            NotCountableError: If that isn't known.
        """
        raise NotImplementedError

    kind: ClassVar[str] = "cost"

    def counted(self) -> dict[str, Stage]:
        """Return the stages whose cost it counts, by the names of their FLOPs."""
        raise NotImplementedError

    def skimmed(self) -> tuple[Stage, ...]:
        """Return all inputs: of models it reads configuration and tokenizer."""
        return tuple(self.inputs())


def read_cost(folder_of: FolderOf, stage: CountsCost) -> Cost:
    """Read what a stage counted; of one that isn't made yet, about what it will."""
    try:
        return Cost(**json.loads((folder_of(stage) / COST).read_text(encoding="utf-8")))
    except NotCountableError:
        if stage.key not in _EXPECTED:
            _EXPECTED[stage.key] = stage.expected(folder_of)
        return _EXPECTED[stage.key]


class BeforeTraining(CountsCost):
    """Counts a training before it runs: it needs what that needs, not the training itself."""

    training: Train

    def counted(self) -> dict[str, Stage]:
        """Return the training."""
        return {"training": self.training}

    def inputs(self) -> Iterator[Stage]:
        """Return the training's inputs in its place."""
        for needed in super().inputs():
            yield from needed.inputs() if needed is self.training else (needed,)

    def cost(self, ahead: WorkAhead, steps: int, folder_of: FolderOf) -> Cost:
        """Return what the training's first steps take."""
        work, shape = ahead.after(steps), read_shape(folder_of(self.training.parent))
        critic = self.training.critic_shape(folder_of)
        flops = training_flops(work, ahead.settings, shape, critic=critic)
        return Cost(
            flops={"training": flops},
            tokens=work.processed_tokens + work.measured_tokens,
            pairs=work.rows,
            targets=work.scored_tokens,
            steps=steps,
            epochs=work.rows / len(ahead.rows),
        )


@dataclass(frozen=True, kw_only=True)
class CountTraining(BeforeTraining):
    """Count a training that has its own number of steps."""

    training: Train

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write cost.json."""
        ahead = self.training.ahead(job.records_of)
        steps = planned_steps(ahead.settings, len(ahead.rows))
        write_json(job.out / COST, asdict(self.cost(ahead, steps, job.records_of)))
        return {}

    def expected(self, folder_of: FolderOf) -> Cost:
        """Count some of the rows for all."""
        ahead = self.training.ahead(folder_of, sampled=True)
        return self.cost(ahead, planned_steps(ahead.settings, len(ahead.rows)), folder_of)


@dataclass(frozen=True, kw_only=True)
class CountOnline(CountsCost):
    """Count a training that samples, after it: how long its samples are isn't known before."""

    training: Train

    def counted(self) -> dict[str, Stage]:
        """Return the training."""
        return {"training": self.training}

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write cost.json."""
        training, folder = self.training, job.records_of(self.training)
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        work, settings = WorkDone(**result["work"]), training.asked(job.records_of)
        shape = read_shape(job.records_of(training.parent))
        critic = training.critic_shape(job.records_of)
        cost = Cost(
            flops={"training": training_flops(work, settings, shape, critic=critic)},
            tokens=work.processed_tokens + work.measured_tokens,
            pairs=work.rows,
            targets=work.scored_tokens,
            steps=result["steps"],
            epochs=result["epochs"],
            samples=work.samples,
            scored=work.samples,
        )
        write_json(job.out / COST, asdict(cost))
        return {}

    def expected(self, folder_of: FolderOf) -> Cost:
        """Count samples as long as the rows' own responses."""
        training = self.training
        ahead = training.ahead(folder_of, sampled=True)
        work = ahead.after(planned_steps(ahead.settings, len(ahead.rows)))
        judges = total_flops(training.judged_ahead(work.samples, folder_of))
        shape = read_shape(folder_of(training.parent))
        critic = training.critic_shape(folder_of)
        work = replace(work, judge_flops=judges or 0.0)
        return Cost(
            flops={"training": training_flops(work, ahead.settings, shape, critic=critic)},
            tokens=work.processed_tokens + work.measured_tokens,
            pairs=work.rows,
            targets=work.scored_tokens,
            samples=work.samples,
            scored=work.samples,
        )


@dataclass(frozen=True, kw_only=True)
class CountSamples(CountsCost):
    """Count samples that are drawn to train on, and what a judge reads of them."""

    samples: Generate
    scores: ScoreResponses | None

    def counted(self) -> dict[str, Stage]:
        """Return who draws, and who scores."""
        return {"samples": self.samples} | ({"scores": self.scores} if self.scores else {})

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write cost.json."""
        folder, flops = job.records_of(self.samples), dict[str, float | None]()
        flops["samples"] = self.samples.work_done(folder, job.records_of, {}).get("flops")
        drawn, texts = read_responses(folder), list[tuple[str, str]]()
        if self.scores is not None:
            read = (each for each in drawn if each.stop_reason != StopReason.TOO_LONG)
            texts = list(dict.fromkeys((each.prompt, each.text) for each in read))
            passes = self.scores.passes_over([*texts], job.records_of)
            flops["scores"] = total_flops(passes) if passes else 0.0  # a rule computes nothing
        write_json(job.out / COST, asdict(Cost(flops=flops, samples=len(drawn), scored=len(texts))))
        return {}

    def expected(self, folder_of: FolderOf) -> Cost:
        """Count samples as long as they may be, each of them read."""
        planned = {name: each.planned_work(folder_of) for name, each in self.counted().items()}
        flops = {name: total_flops(passes) if passes else 0.0 for name, passes in planned.items()}
        drawn = len(self.samples.prompts.ahead(folder_of)) * self.samples.settings.num_samples
        return Cost(flops=flops, samples=drawn, scored=drawn if self.scores else 0)
