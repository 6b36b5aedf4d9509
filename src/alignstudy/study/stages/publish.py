"""The stage that makes what people read: figures and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from alignstudy.data.audit.audit import audit_json
from alignstudy.data.contamination.exclusion import EvaluationDialogues
from alignstudy.formatting import duration, plural
from alignstudy.judges.quality.assess import BASELINES
from alignstudy.methods.base import METRICS_FILE, PROBE_FILE
from alignstudy.records import GuardOutcome
from alignstudy.records.evidence import TrainingRecord
from alignstudy.redaction import redacted_in
from alignstudy.report.inputs import ReportInputs
from alignstudy.stats.resampling.clustered_share import effective_wilson
from alignstudy.study.cost.meter import cost_row
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.graph.stage import Stage, StageJob, in_order
from alignstudy.study.provenance import versions
from alignstudy.study.settings.ranking import ranked_by_reporters
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.template import templates_in_words
from alignstudy.study.settings.tuning import tuning_warnings
from alignstudy.study.stages.base_models import ScratchModel
from alignstudy.study.stages.compare import Compare, read_findings, read_scored
from alignstudy.study.stages.data import (
    FACTS,
    OVERLAP,
    TRAINING_PARTS,
    CollectRows,
    SelectPrompts,
    read_audits,
    write_json,
)
from alignstudy.study.stages.preview import PREVIEW, Preview
from alignstudy.study.stages.recipe_costs import as_spent, recipe_costs
from alignstudy.study.stages.rounds import BuildRows
from alignstudy.study.stages.score import read_calibration_result
from alignstudy.study.stages.sources import read_part
from alignstudy.study.stages.spending import Spent, spending
from alignstudy.study.stages.train import Train, read_logged, read_result
from alignstudy.study.stages.tuning import Choose, read_choice, tuning_alone
from alignstudy.study.stages.weights import Merge, Mix
from alignstudy.study.tools.report import write_report


@dataclass(frozen=True, kw_only=True)
class ChainEnd:
    """A training in the report: the recipe's chain up to it, in words."""

    recipe: str
    stage: Train


@dataclass(frozen=True, kw_only=True)
class Publish(Stage):
    """Draw the figures, gather the audits, write the report."""

    kind: ClassVar[str] = "report"
    study: StudySettings
    compare: Compare
    prompts: SelectPrompts
    parts: tuple[CollectRows, ...]
    built: tuple[BuildRows, ...]
    trainings: tuple[ChainEnd, ...]
    computed: tuple[Merge | Mix, ...]
    tuned: tuple[Choose, ...]
    preview: Preview | None
    spent: tuple[Spent, ...]
    sources: dict[str, str]
    absent: tuple[str, ...] = ()

    def skimmed(self) -> tuple[Stage, ...]:
        """Return the trained and computed models: of them it reads what happened."""
        return (*(end.stage for end in self.trainings), *self.computed)

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write report.html, figures/, audit.json."""
        folder = job.folder_of(self.compare)
        findings = read_findings(folder)
        job.progress.start("figures and report")
        budget = tuple(self._budget(job))
        inputs = ReportInputs(
            study=self.study.study,
            settings=redacted_in(self.study.model_dump(mode="json")),
            protocol=self.study.prompts.protocol,
            findings=findings,
            responses=tuple(read_scored(folder)),
            training=tuple(_record(end, job) for end in self.trainings),
            audits=tuple(
                audit
                for stage in (self.prompts, *self.parts, *self.built)
                for audit in read_audits(job.folder_of(stage))
            ),
            audit_facts={
                stage.part: {
                    **json.loads(_text(job, stage, FACTS)),
                    "overlap with evaluation prompts": json.loads(_text(job, stage, OVERLAP)),
                }
                for stage in self.parts
            }
            | {each.part: json.loads(_text(job, each, FACTS)) for each in self.built},
            calibrations=self._calibrations(job),
            template=templates_in_words(
                {
                    one.model: job.facts_of(one.responses).get("template", "")
                    for one in self.compare.compared
                }
            ),
            preview="" if self.preview is None else _text(job, self.preview, PREVIEW),
            warnings=(
                *self._looks(job),
                *self._judge_warnings(job),
                *self._guards_apart(job),
                *ranked_by_reporters(self.study),
                *tuning_warnings(self.study),
            ),
            provenance=redacted_in(self._provenance(job)),
            costs=tuple(self._costs(job)),
            recipe_costs=as_spent(
                recipe_costs(
                    {(one.model, one.seed): one.responses.model for one in self.compare.compared},
                    job.facts_of,
                ),
                budget,
            ),
            cost_notes=tuple(self._cost_notes(job)),
            budget=budget,
            tuning=tuple(read_choice(stage, job) for stage in self.tuned),
            partial="; ".join(f"judge absent: {text}" for text in self.absent),
        )
        write_json(job.out / "audit.json", audit_json(inputs.audits, facts=inputs.audit_facts))
        write_report(inputs, job.out)
        job.progress.finish()
        return {}

    def _budget(self, job: StageJob) -> Iterator[dict[str, Any]]:
        """Return what each recipe was spent on, where they were to be spent alike on."""
        if self.study.budget is not None:
            yield from spending(self.spent, self.study.budget, job)

    def _costs(self, job: StageJob) -> Iterator[dict[str, Any]]:
        """Return what each stage took; where methods were tuned, whether it served that alone."""
        stages = in_order((self.compare, *(end.stage for end in self.trainings)))
        tuning = tuning_alone(stages)
        for stage in stages:
            row = cost_row(stage.name, job.facts_of(stage))
            yield {**row, "tuning": stage.key in tuning} if self.tuned else row

    def _cost_notes(self, job: StageJob) -> Iterator[str]:
        """What trainings would have taken if no two models shared the start of their chain."""
        models = {
            (one.model, one.responses.model.key): one.responses.model
            for one in self.compare.compared
        }
        alone = [stage for model in models.values() for stage in _chain(model)]
        shared = {stage.key: stage for stage in alone}
        seconds = {key: job.facts_of(stage)["seconds"] for key, stage in shared.items()}
        whole, once = sum(seconds[stage.key] for stage in alone), sum(seconds.values())
        if len(alone) > len(shared):
            yield (
                f"Trained once for all models that share them, the methods took {duration(once)};"
                f" each model's chain trained by itself: {duration(whole)}."
            )

    def _calibrations(self, job: StageJob) -> tuple[dict[str, Any], ...]:
        found, compare = [], self.compare
        judges = zip(compare.judges, compare.limits, compare.calibrations, strict=False)
        for judge, limits, stage in judges:
            if stage is None:
                continue
            for axis, facts in read_calibration_result(job.folder_of(stage)).items():
                # Where the study gives a number, what was calibrated decides nothing.
                if axis != "rendering" and axis not in limits:
                    found.append({"judge": judge, "axis": axis, **facts})
        return tuple(found)

    def _num_looks(self, job: StageJob) -> int:
        """Count the comparisons in the store that rest on these prompts, this one included.

        Labels of the same responses make no further version of a study.
        """
        found = job.made_with(Compare.kind, "prompts", self.prompts.key)
        return len({digest({**each, "labels": None, "sheet_key": None}) for each in found})

    def _looks(self, job: StageJob) -> Iterator[str]:
        """Say so where other versions of the study were compared on the same prompts."""
        number = self._num_looks(job)
        if number > 1:
            yield (
                f"{number} versions of this study have been compared on these prompts, this one"
                " included: with every look a finding by chance gets likelier, and p-values are"
                " corrected for this version's claims only; confirm a finding on fresh prompts"
                " (another seed under prompts)"
            )

    def _guards_apart(self, job: StageJob) -> Iterator[str]:
        """Return which guards ran where weights were computed, which belong to no training."""
        found: dict[tuple[str, str], list[str]] = {}
        for stage in self.computed:
            name, _, seed = stage.name.partition("/seed-")
            for guard in read_result(stage, job)["guards"]:
                state = "passed" if guard["passed"] else "NOT PASSED"
                said = f"{guard['detail']} (seed {seed})" if seed else guard["detail"]
                found.setdefault((name, f"guard {guard['guard']} {state}"), []).append(said)
        for (name, outcome), details in found.items():
            more = f"; and under {plural(len(details) - 1, 'more seed')}" if details[1:] else ""
            yield f"{name}: {outcome}: {details[0]}{more}"

    def _judge_warnings(self, job: StageJob) -> Iterator[str]:
        """Return where a judge is not independent, or ranks the wrong way round."""
        baselines = {judge.name for judge in self.study.judges if judge.settings.use in BASELINES}
        for facts in self._calibrations(job):
            if facts["judge"] not in baselines and _looks_reversed(facts):
                yield (
                    f"judge {facts['judge']} scores the rejected response higher on"
                    f" {100 * (1 - facts['pair_accuracy']):.0f}% of {facts['n']} labelled pairs"
                    f" ({facts['axis']}): its direction looks reversed, and its rates mean nothing"
                )
        judges = [stage for stage in self.parts if stage.part.startswith("judge-")]
        trained = [stage for stage in self.parts if stage.part in TRAINING_PARTS]
        rows = (row for stage in trained for row in read_part(stage, job.folder_of(stage)))
        train = EvaluationDialogues.of_pairs(rows, reason="shared")
        for stage in judges if trained else ():
            pairs = read_part(stage, job.folder_of(stage))
            shared = sum(train.reason_against(pair) is not None for pair in pairs)
            if shared:
                yield (
                    f"{shared} of {len(pairs)} training pairs of {stage.part} share a dialogue"
                    " with the policies' training rows: this judge is not independent of them"
                )

    def _provenance(self, job: StageJob) -> dict[str, Any]:
        """Return what the stages were made with; the run's own times are in provenance.json."""
        stages = [*(end.stage for end in self.trainings), *self.computed]
        return {
            "versions": versions(),
            "sources": dict(self.sources),
            "seeds": list(self.study.seeds),
            "comparisons on these prompts": self._num_looks(job),
            "weights_sha256": {s.name: job.facts_of(s).get("weights_sha256", "") for s in stages},
            "seconds": {s.name: job.facts_of(s)["seconds"] for s in stages},
            "device": sorted({s.device_class for s in stages}),
            "stages": {stage.name: stage.key for stage in (self.prompts, *self.parts, *stages)},
        }


def _chain(model: Stage) -> list[Stage]:
    """List what was trained and computed between the base and a model; the base's own is none."""
    stages = in_order([model])
    tuning = tuning_alone(stages)
    return [
        stage
        for stage in stages
        if stage.key not in tuning
        and (
            isinstance(stage, Merge | Mix)
            or (isinstance(stage, Train) and not isinstance(stage.parent, ScratchModel))
        )
    ]


def _looks_reversed(facts: dict[str, Any]) -> bool:
    """Whether a judge is surely worse than a coin: a few pairs below half don't show it."""
    return effective_wilson(facts["pair_accuracy"], facts["n"])[1] < 50.0


def _text(job: StageJob, stage: Stage, name: str) -> str:
    return (job.folder_of(stage) / name).read_text(encoding="utf-8")


def _record(end: ChainEnd, job: StageJob) -> TrainingRecord:
    stage, result = end.stage, read_result(end.stage, job)
    return TrainingRecord(
        stage=stage.name,
        recipe=end.recipe,
        method=stage.settings.method,
        seed=stage.seed,
        steps=result["steps"],
        epochs=result["epochs"],
        num_tokens=result["num_tokens"],
        seconds=result["seconds"],
        final_loss=result["final_loss"],
        counts=result["counts"],
        guards=tuple(GuardOutcome(**guard) for guard in result["guards"]),
        notes=tuple(result["notes"]),
        curve=tuple(read_logged(stage, job, METRICS_FILE)),
        probe=tuple(read_logged(stage, job, PROBE_FILE)),
    )
