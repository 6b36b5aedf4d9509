"""The stage that makes numbers: rates, intervals, tests, tables, and the exported responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.analysis.analyze_run import LEAK, OVERLAP, AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.results import Lineage, Thresholds
from alignstudy.analysis.rewards import Learner
from alignstudy.analysis.robustness.threshold_errors import Draws
from alignstudy.data.contamination.leaks import leaks
from alignstudy.data.files.labels import read_labels
from alignstudy.judges.base import MAX_INCOMPLETE_SHARE
from alignstudy.metrics.axes import axis_named
from alignstudy.records import (
    Axis,
    ScoredResponse,
    StopReason,
    read_rows,
    write_rows,
)
from alignstudy.records.labels import Label
from alignstudy.report.stored import STATISTICS, findings_from_json, write_findings
from alignstudy.sources import ResolvedSource
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.settings.axes import Limits, SweepSettings
from alignstudy.study.stages.data import CollectRows, SelectPrompts, WriteWorld, read_overlap
from alignstudy.study.stages.divergence import Diagnose, read_divergence
from alignstudy.study.stages.generate import (
    Generate,
    ScoreResponses,
    read_responses,
    read_scores,
)
from alignstudy.study.stages.score import (
    Assess,
    Calibrate,
    read_calibration_result,
    read_quality,
    read_threshold_draws,
)
from alignstudy.study.stages.sources import read_prompts

SCORED = "scored.jsonl"
INCOMPLETE = "incomplete"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One model under one seed: its responses, and every judge's scores of them."""

    model: str
    seed: int
    responses: Generate
    scores: tuple[ScoreResponses, ...]


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A recipe that learns from judges' scores: see `analysis.rewards.Learner`.

    Attributes:
        starts: The model that its first such method starts from, under each seed.
    """

    recipe: str
    chain: tuple[str, ...]
    methods: tuple[str, ...]
    trained_by: tuple[str, ...]
    baselines: tuple[str, ...]
    starts: tuple[Compared, ...]


@dataclass(frozen=True, kw_only=True)
class Compare(Stage):
    """Compare the models: one analysis a judge, the leading judge's in the tables.

    Attributes:
        axes: Of tables and figures, in the order of all draws.
        judges: Their names, in the study's order.
        limits: Each judge's thresholds as numbers, of the axes that are not calibrated.
        calibrations: One a judge where thresholds are calibrated, None where its own numbers are
            given; else ().
        assessments: One a judge where there are validation pairs; else ().
        training: The rows that trained the models: evaluation prompts that they hold are counted.
        empty_fails: The axes on which an empty response fails whatever its score.
        absent: Judges that could not be had.
        learners: The recipes that learn from judges' scores.
        labels: Of some responses, by people or a better judge.
        sheet_key: Which response each row of `labels` is, where that is a sheet.
        join_threshold_errors: Whether what thresholds leave open widens the rates' intervals.
    """

    kind: ClassVar[str] = "compare"
    version: ClassVar[int] = 8
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    compared: tuple[Compared, ...]
    lineages: dict[str, Lineage]
    axes: tuple[Axis, ...]
    judges: tuple[str, ...]
    limits: tuple[Limits, ...]
    inclusive: bool
    sweep: SweepSettings
    calibrations: tuple[Calibrate | None, ...]
    base: str | None
    prompts: SelectPrompts
    training: tuple[CollectRows, ...]
    panel: PanelSettings | None
    claims: tuple[Claim, ...]
    control: str | None
    margins: Margins
    assessments: tuple[Assess, ...]
    diagnoses: tuple[Diagnose, ...]
    empty_fails: tuple[str, ...]
    learners: tuple[Learnt, ...] = ()
    absent: tuple[str, ...] = ()
    labels: ResolvedSource | None = None
    sheet_key: ResolvedSource | None = None
    join_threshold_errors: bool = False

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write statistics.json, tables/, responses/, classification/, scored.jsonl."""
        rows = [row for one in self.compared for row in self._scored(one, job)]
        incomplete = _incomplete(rows)
        prompts = read_prompts(job.folder_of(self.prompts))
        overlapping: frozenset[str] = frozenset()
        for part in self.training:
            overlapping |= read_overlap(job.folder_of(part)).prompt_ids
        question = AnalysisConfig(
            thresholds={name: self._thresholds(at, job) for at, name in enumerate(self.judges)},
            axes=self.axes,
            base=self.base,
            panel=self.panel,
            claims=self.claims,
            control=self.control,
            margins=self.margins,
            sweep=self.sweep.grids(),
            clusters={prompt.id: prompt.cluster or prompt.id for prompt in prompts},
            excluded={OVERLAP: overlapping, LEAK: frozenset(leaks(prompts).ends_in_answer)},
            absent=self.absent,
            lineages=self.lineages,
            labels=self._labels(),
            threshold_draws=dict(self._threshold_draws(job)),
            join_threshold_errors=self.join_threshold_errors,
            learners=tuple(self._learner(each, job) for each in self.learners),
        )
        rows, findings = analyze_run(
            rows,
            question,
            qualities=[read_quality(job.folder_of(stage)) for stage in self.assessments],
            divergences=[read_divergence(job.folder_of(stage)) for stage in self.diagnoses],
        )
        findings = replace(findings, is_generated=isinstance(self.prompts.source, WriteWorld))
        write_rows(job.out / SCORED, rows)
        write_findings(findings, rows, job.out)
        return {"responses": len(rows), INCOMPLETE: incomplete}

    def _learner(self, learnt: Learnt, job: StageJob) -> Learner:
        return Learner(
            model=learnt.recipe,
            chain=learnt.chain,
            methods=learnt.methods,
            trained_by=learnt.trained_by,
            baselines=learnt.baselines,
            responses=tuple(row for one in learnt.starts for row in self._scored(one, job)),
        )

    def _thresholds(self, judge: int, job: StageJob) -> Thresholds:
        given = self.limits[judge]
        values = {axis: number for axis, number in given.items() if number is not None}
        origin = dict.fromkeys(values, "given in the study")
        calibration = self.calibrations[judge] if self.calibrations else None
        if calibration is not None:
            found = read_calibration_result(job.folder_of(calibration))
            for axis in (axis.name for axis in self.axes if axis.name not in given):
                if axis in found:
                    values[axis] = found[axis]["threshold"]
                    accuracy = f"{100 * found[axis]['balanced_accuracy']:.1f}%"
                    origin[axis] = (
                        f"calibrated: balanced accuracy {accuracy} on {found[axis]['n']} labelled"
                        " pairs"
                    )
        return Thresholds(
            values=values,
            inclusive=self.inclusive,
            origin=origin,
            empty_fails=self.empty_fails,
        )

    def _threshold_draws(self, job: StageJob) -> Iterator[tuple[str, Draws]]:
        """Return each judge's, of the axes on which its threshold is the calibrated one."""
        for at, calibration in enumerate(self.calibrations):
            if calibration is not None:
                found = read_threshold_draws(job.folder_of(calibration))
                own = {a: draws for a, draws in found.items() if a not in self.limits[at]}
                yield self.judges[at], own

    def _labels(self) -> tuple[Label, ...]:
        if self.labels is None:
            return ()
        return read_labels(
            self.labels.path, None if self.sheet_key is None else self.sheet_key.path
        )

    def _scored(self, one: Compared, job: StageJob) -> Iterator[ScoredResponse]:
        """Join one model's responses with every judge's scores, by prompt id and number."""
        by_judge = {
            judge: {(s.prompt_id, s.sample): s for s in read_scores(job.folder_of(stage))}
            for judge, stage in zip(self.judges, one.scores, strict=True)
        }
        for response in read_responses(job.folder_of(one.responses)):
            key = (response.prompt_id, response.sample)
            scores = {
                judge: found[key]
                for judge, found in by_judge.items()
                if key in found  # a judge may score one axis only
            }
            yield ScoredResponse(
                model=one.model,
                seed=one.seed,
                prompt_id=response.prompt_id,
                axis=response.axis,
                prompt=response.prompt,
                response=response.text,
                scores={judge: given.score for judge, given in scores.items()},
                flags={judge: given.flags for judge, given in scores.items() if given.flags},
                failures={judge: given.failure for judge, given in scores.items() if given.failure},
                prompt_truncated=response.prompt_truncated,
                num_tokens=response.num_tokens,
                stop_reason=str(response.stop_reason),
                raw_response=response.raw_text,
                sample=response.sample,
            )


def _incomplete(rows: list[ScoredResponse]) -> list[str]:
    """Return where a judge gave no score to more than one response of a hundred."""
    asked: Counter[tuple[str, str, str]] = Counter()
    missing: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row.stop_reason == StopReason.TOO_LONG:
            continue  # no response to score: left out for all models, and counted
        for judge, score in row.scores.items():
            name = axis_named(row.axis).prompts
            asked[judge, row.model, name] += 1
            missing[judge, row.model, name] += score is None
    return [
        f"judge {judge}: no finite score for {number} of {asked[judge, model, name]} {name}"
        f" responses of {model}"
        for (judge, model, name), number in missing.items()
        if number > MAX_INCOMPLETE_SHARE * asked[judge, model, name]
    ]


def read_scored(folder: Path) -> list[ScoredResponse]:
    """Read a finished Compare's responses with their scores."""
    return list(read_rows(folder / SCORED, ScoredResponse))


def read_findings(folder: Path) -> Findings:
    """Read a finished Compare's findings."""
    return findings_from_json(json.loads((folder / STATISTICS).read_text(encoding="utf-8")))
