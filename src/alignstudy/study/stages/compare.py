"""The stage that makes numbers: rates, intervals, tests, tables, and the exported responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.judges import MAX_INCOMPLETE_SHARE
from alignstudy.records import Response, Score, ScoredResponse, StopReason, read_rows, write_rows
from alignstudy.report.analysis import Analysis, Thresholds, analyse
from alignstudy.report.exports import write_classifications, write_responses
from alignstudy.report.tables import write_tables
from alignstudy.study.spec import ThresholdSettings
from alignstudy.study.stage import Stage, StageJob
from alignstudy.study.stages.answer import (
    CALIBRATION,
    Calibrate,
    Generate,
    ScoreResponses,
    read_responses,
    read_scores,
)
from alignstudy.study.stages.data import write_json

SCORED = "scored.jsonl"
STATISTICS = "statistics.json"
INCOMPLETE = "incomplete"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One model under one seed: its responses, and every judge's scores of them."""

    model: str
    seed: int
    responses: Generate
    scores: tuple[ScoreResponses, ...]


@dataclass(frozen=True, kw_only=True)
class Compare(Stage):
    """Compare the models: one analysis a judge, the first judge's in the tables."""

    kind: ClassVar[str] = "compare"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    compared: tuple[Compared, ...]
    judges: tuple[str, ...]
    thresholds: ThresholdSettings
    calibrations: tuple[Calibrate, ...]
    base: str | None

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write statistics.json, tables/, responses/, classification/, scored.jsonl."""
        rows = [row for one in self.compared for row in self._scored(one, job)]
        write_rows(job.out / SCORED, rows)
        analyses = self.analyses(rows, job)
        first, *others = analyses
        statistics = first.to_json()
        statistics["other_judges"] = [analysis.to_json() for analysis in others]
        write_json(job.out / STATISTICS, statistics)
        (job.out / "tables").mkdir()
        write_tables(first, job.out / "tables")
        (job.out / "responses").mkdir()
        write_responses(rows, self.judges[0], job.out / "responses")
        (job.out / "classification").mkdir()
        write_classifications(rows, self.judges[0], first.thresholds, job.out / "classification")
        return {"responses": len(rows), INCOMPLETE: _incomplete(rows)}

    def analyses(self, rows: list[ScoredResponse], job: StageJob) -> tuple[Analysis, ...]:
        """Analyse the scores of every judge."""
        return tuple(
            analyse(rows, self._thresholds(at, job), judge=judge, base=self.base)
            for at, judge in enumerate(self.judges)
        )

    def _thresholds(self, judge: int, job: StageJob) -> Thresholds:
        given = self.thresholds
        if not given.calibrated:
            axes = {"harmless": given.harmless, "helpful": given.helpful}
            origin = {axis: "given in the study" for axis, at in axes.items() if at is not None}
            return Thresholds(**axes, inclusive=given.inclusive, origin=origin)
        found = read_calibration_result(job.folder_of(self.calibrations[judge]))
        return Thresholds(
            harmless=found.get("harmless", {}).get("threshold"),
            helpful=found.get("helpful", {}).get("threshold"),
            inclusive=given.inclusive,
            origin={axis: _in_words(facts) for axis, facts in found.items()},
        )

    def _scored(self, one: Compared, job: StageJob) -> Iterator[ScoredResponse]:
        """Join one model's responses with every judge's scores, by prompt id."""
        by_judge = {
            judge: {score.prompt_id: score for score in read_scores(job.folder_of(stage))}
            for judge, stage in zip(self.judges, one.scores, strict=True)
        }
        for response in read_responses(job.folder_of(one.responses)):
            scores = {judge: found[response.prompt_id] for judge, found in by_judge.items()}
            yield _row(one, response, scores)


def _row(one: Compared, response: Response, scores: dict[str, Score]) -> ScoredResponse:
    return ScoredResponse(
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
    )


def _incomplete(rows: list[ScoredResponse]) -> list[str]:
    """Say where a judge gave no score to more than one response of a hundred."""
    asked: Counter[tuple[str, str, str]] = Counter()
    missing: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row.stop_reason == StopReason.TOO_LONG:
            continue  # no response to score: left out for all models, and counted
        for judge, score in row.scores.items():
            asked[judge, row.model, row.axis.prompts_name] += 1
            missing[judge, row.model, row.axis.prompts_name] += score is None
    return [
        f"judge {judge}: no finite score for {number} of {asked[judge, model, name]} {name}"
        f" responses of {model}"
        for (judge, model, name), number in missing.items()
        if number > MAX_INCOMPLETE_SHARE * asked[judge, model, name]
    ]


def _in_words(facts: dict[str, Any]) -> str:
    accuracy = 100 * facts["balanced_accuracy"]
    return f"calibrated: balanced accuracy {accuracy:.1f}% on {facts['n']} labelled pairs"


def read_calibration_result(folder: Path) -> dict[str, dict[str, Any]]:
    """Read a finished Calibrate: facts by axis."""
    return dict(json.loads((folder / CALIBRATION).read_text(encoding="utf-8")))


def read_scored(folder: Path) -> list[ScoredResponse]:
    """Read a finished Compare's responses with their scores."""
    return list(read_rows(folder / SCORED, ScoredResponse))
