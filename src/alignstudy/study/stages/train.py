"""Stages that make weights: a model read, one drawn, one method applied to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from alignstudy.errors import GuardError
from alignstudy.methods import TrainingSettings, TrainJob, method_of
from alignstudy.methods.base import WorkDone
from alignstudy.methods.loop.arguments import planned_steps
from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.models.digests import weights_digest
from alignstudy.models.quantized import check_installed
from alignstudy.records import GuardOutcome, TrainingRow
from alignstudy.study.cost.memory import Footprint, training_footprint
from alignstudy.study.cost.model_shape import ModelShape, read_shape
from alignstudy.study.cost.training import (
    once_for_all_trials,
    training_ahead,
    training_flops,
    training_passes,
)
from alignstudy.study.cost.work import Passes
from alignstudy.study.graph.fingerprint import not_in_key
from alignstudy.study.graph.stage import WEIGHTS, FolderOf, Stage, StageJob
from alignstudy.study.stages.data import SelectPrompts, read_held_out, write_json
from alignstudy.study.stages.online import critic_judge, judge_passes, ports_of
from alignstudy.study.stages.score import JudgeSpec
from alignstudy.study.stages.settling import SettlesSettings, settled
from alignstudy.study.stages.sources import RowSource, read_part

if TYPE_CHECKING:
    from alignstudy.methods.loop.ahead import WorkAhead

RESULT = "result.json"
MANY = 1000
"""Rows whose responses stand for all samples that will be judged."""


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """Apply one method to a parent's saved weights.

    Attributes:
        reference: Whose full weights log-ratios are against; None: the parent's, or nobody's.
        held_out: Where the probe's held-out pairs are; None where nothing is probed.
        template: How prompts are written.
        settled: What decides some of the settings when the study runs.
        rewards: The judges whose scores of its own samples it learns; () of a method that draws
            none.
    """

    kind: ClassVar[str] = "train"
    version: ClassVar[int] = 2
    numeric: ClassVar[bool] = True
    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    label: str = not_in_key(default="")
    settings: TrainingSettings
    parent: Stage
    reference: Stage | None = None
    rows: RowSource
    held_out: SelectPrompts | None = None
    seed: int
    template: str
    settled: tuple[SettlesSettings, ...] = ()
    rewards: tuple[JudgeSpec, ...] = ()

    @property
    def reward_models(self) -> tuple[Train, ...]:
        """Those of the judges that were trained for it: from a policy, on its samples."""
        trained = (judge.model for judge in self.rewards if isinstance(judge.model, Train))
        return tuple(model for model in trained if model.rows.sampler is not None)

    def asked(self, folder_of: FolderOf) -> TrainingSettings:
        """Return the settings that it trains with."""
        return settled(self.settings, self.settled, folder_of)

    @property
    def is_adapter(self) -> bool:
        """Whether the artefact is an adapter, its base being the parent."""
        return self.settings.lora is not None

    @property
    def is_its_reference(self) -> bool:
        """Whether the reference is what is trained, without its adapter."""
        return self.is_adapter and self.reference is None

    def further_libraries(self) -> tuple[str, ...]:
        """Return what holds a base in 4 bits, or moments in 8.

        Raises:
            EnvironmentFault: If it isn't installed.
        """
        if not (self.settings.in_4bit or self.settings.optim == "adamw_8bit"):
            return ()
        check_installed()
        return ("bitsandbytes",)

    def underlying(self) -> tuple[Stage, ...]:
        """Return an adapter's base."""
        return (self.parent,) if self.is_adapter else ()

    def run(self, job: StageJob) -> dict[str, Any]:
        """Train; write the model, metrics.jsonl, and what happened."""
        from alignstudy.methods.loop.train import train

        sampled = self._samples_are_the_parents(job)
        asked = self.job(job, rows=read_part(self.rows, job.folder_of(self.rows)))
        if isinstance(asked.settings, OnlineSettings):
            parent, judges = asked.parent, self.rewards
            ports = ports_of(asked.settings, parent, self.template, judges, self.device_class, job)
            asked = replace(asked, ports=ports)
        result = train(asked)
        result = replace(result, guards=(*result.guards, *sampled))
        write_json(job.out / RESULT, asdict(result))
        facts = {"steps": result.steps, "tokens": result.num_tokens}
        return {**facts, "weights_sha256": weights_digest(job.out)}

    def _samples_are_the_parents(self, job: StageJob) -> tuple[GuardOutcome, ...]:
        """Return what is known of who wrote the samples; () where no policy learns them.

        Raises:
            GuardError: If it isn't the model that is trained.
        """
        if self.rows.sampler is None or method_of(self.settings).trains == "classifier":
            return ()
        wrote = job.facts_of(self.rows.sampler)["weights_sha256"]
        trained = weights_digest(job.folder_of(self.parent))
        if wrote != trained:
            raise GuardError(
                "the samples are not those of the model that is trained on them",
                why=f"the sampler's weights are {wrote[:12]}, the parent's {trained[:12]}",
                hint="run the same command again with a fresh store (ALIGNSTUDY_HOME)",
            )
        detail = f"samples and training begin with the same weights ({trained[:12]})"
        return (GuardOutcome(guard="samples_are_the_parents", passed=True, detail=detail),)

    def planned_work(self, folder_of: FolderOf) -> list[Passes]:
        """Count the rows' texts, forward and backward, the reference's passes, the probe's."""
        settings, ahead = self._counted(folder_of), self.ahead(folder_of, sampled=True)
        work = ahead.after(planned_steps(settings, len(ahead.rows)))
        shape = read_shape(folder_of(self.parent))
        critic = self.critic_shape(folder_of)
        done = training_passes(work, settings, shape, rows=work.rows, critic=critic)
        return [*done, *self.judged_ahead(work.samples, folder_of)]

    def critic_shape(self, folder_of: FolderOf) -> ModelShape | None:
        """Return what a critic's shape is, if there is one; None where files don't say it."""
        judge = critic_judge(self.settings, self.rewards, folder_of)
        return read_shape(folder_of(self.parent) if judge is None else judge)

    def judged_ahead(self, samples: int, folder_of: FolderOf) -> Iterator[Passes]:
        """Count the judges' passes over so many samples, as long as the rows' own responses."""
        rows = self.rows.ahead(folder_of)[:MANY] if self.rewards else []
        texts = [(row.prompt, row.chosen) for row in rows]
        for judge in self.rewards:
            yield from judge_passes(judge, texts, folder_of, times=samples / len(texts))

    def ahead(self, folder_of: FolderOf, *, sampled: bool = False) -> WorkAhead:
        """Return what its steps will compute, if nothing was kept and nothing interrupts it.

        Args:
            folder_of: Returns the finished folder of the rows and of the model.
            sampled: Whether some rows stand for all where there are many.
        """
        settings, parent = self._counted(folder_of), folder_of(self.parent)

        def count() -> WorkAhead:
            return training_ahead(
                settings,
                self.rows.ahead(folder_of),
                parent,
                self.template,
                sampled=sampled,
                seed=self.seed,
                own_reference=self.reference is None,
                held_out=read_held_out(self.held_out, folder_of),
            )

        if not sampled:
            return count()
        against = self.reference is None, "" if self.held_out is None else self.held_out.key
        return once_for_all_trials(
            count, settings, self.rows.key, str(parent), self.template, self.seed, *against
        )

    def _counted(self, folder_of: FolderOf) -> TrainingSettings:
        """Return the settings as far as they change how much it computes."""
        return settled(
            self.settings, [each for each in self.settled if each.changes_work], folder_of
        )

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Count what went through the model in this run, and through its reference."""
        result = json.loads((out / RESULT).read_text(encoding="utf-8"))
        work, settings = WorkDone(**result["work"]), self.asked(folder_of)
        shape = read_shape(folder_of(self.parent))
        if shape is None or not work.processed_tokens:
            return {}
        own = work.real_tokens / max(1, result["num_tokens"])  # a resumed run may count its part
        packed = result["steps"] * settings.effective_batch_size * own
        rows = work.rows or max(1.0, packed)
        critic = self.critic_shape(folder_of)
        flops = training_flops(work, settings, shape, rows=rows, critic=critic)
        return {"flops": flops, "processed_tokens": work.processed_tokens}

    def footprint(self) -> Footprint | None:
        """Count weights, gradients, moments, a reference, a critic, the largest micro-batch.

        The critic is taken to be as large as the policy, whatever it starts as.
        """
        shape, settings = self.parent.model_shape(), self.settings
        if shape is None:
            return None
        method = method_of(settings)
        asks = method.objective.compares_vocabulary or (
            method.samples and method.reference != "none"
        )
        held = shape.parameters if asks and not self.is_its_reference else 0.0
        critic = shape.parameters if isinstance(settings, PPOSettings) else 0.0
        return training_footprint(settings, shape, held=held, critic=critic)

    def model_files(self) -> Stage:
        """Return the parent."""
        return self.parent

    def likeness(self) -> str:
        """Name method, precision and what learns, too."""
        learns = "adapter" if self.is_adapter else "full"
        return f"{super().likeness()} {self.settings.method} {self.settings.precision} {learns}"

    def job(self, job: StageJob, *, rows: Sequence[TrainingRow]) -> TrainJob:
        """Write what the method is asked to do, but for who samples and rewards: see `run`."""
        return TrainJob(
            settings=self.asked(job.folder_of),
            parent=job.folder_of(self.parent),
            rows=rows,
            seed=self.seed,
            out=job.out,
            work=job.work,
            digest=self.key,
            device=job.device,
            template=self.template,
            reference=None if self.reference is None else job.folder_of(self.reference),
            references=job.references,
            held_out=read_held_out(self.held_out, job.folder_of),
            progress=job.progress,
            should_stop=job.should_stop,
        )


def read_result(stage: Stage, job: StageJob) -> dict[str, Any]:
    """Read what happened in a finished training or merge."""
    return dict(json.loads((job.records_of(stage) / RESULT).read_text(encoding="utf-8")))


def read_logged(stage: Stage, job: StageJob, name: str) -> list[dict[str, Any]]:
    """Read a file of JSON lines that a finished training wrote; [] if it had nothing to write."""
    path = job.records_of(stage) / name
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]
