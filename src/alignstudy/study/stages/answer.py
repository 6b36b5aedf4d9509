"""Stages that make responses and scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from alignstudy.dialogue import CUE
from alignstudy.errors import GuardError
from alignstudy.generation import GenerationSettings, generate
from alignstudy.judges import JudgeScore, JudgeSettings, build
from alignstudy.judges.calibrate import best_threshold
from alignstudy.records import (
    DECIMALS,
    Axis,
    Pair,
    Response,
    Score,
    StopReason,
    read_rows,
    write_rows,
)
from alignstudy.sources import ResolvedSource
from alignstudy.study.stage import Stage, StageJob
from alignstudy.study.stages.data import (
    SelectPrompts,
    read_calibration,
    read_prompts,
    write_json,
)
from alignstudy.study.stages.train import weights_of

RESPONSES = "responses.jsonl"
SCORES = "scores.jsonl"
CALIBRATION = "calibration.json"

JudgeModel = Stage | ResolvedSource | None


@dataclass(frozen=True, kw_only=True)
class Generate(Stage):
    """Let one model answer every prompt."""

    kind: ClassVar[str] = "generate"
    numeric: ClassVar[bool] = True
    model: Stage
    prompts: SelectPrompts
    settings: GenerationSettings
    protocol: Literal["paper", "rigorous"]
    seed: int

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write responses.jsonl, in the prompts' order."""
        responses = generate(
            weights_of(self.model, job), read_prompts(job.folder_of(self.prompts)), self.settings,
            protocol=self.protocol, device=job.device, seed=self.seed, progress=job.progress,
        )  # fmt: skip
        write_rows(job.out / RESPONSES, responses)
        return {"tokens": sum(response.num_tokens for response in responses)}


def read_responses(folder: Path) -> list[Response]:
    """Read a finished Generate's responses."""
    return list(read_rows(folder / RESPONSES, Response))


def _judge_folder(model: JudgeModel, job: StageJob) -> Path | None:
    if model is None:
        return None
    return job.folder_of(model) if isinstance(model, Stage) else model.path


@dataclass(frozen=True, kw_only=True)
class ScoreResponses(Stage):
    """Let one judge score one model's responses."""

    kind: ClassVar[str] = "score"
    numeric: ClassVar[bool] = True
    responses: Generate
    settings: JudgeSettings
    model: JudgeModel

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write scores.jsonl; a response that couldn't be made has no score, with the reason."""
        responses = read_responses(job.folder_of(self.responses))
        answered = [r for r in responses if r.stop_reason is not StopReason.TOO_LONG]
        judge = build(self.settings, _judge_folder(self.model, job), job.device)
        items = [(response.prompt, response.text) for response in answered]
        given = dict(
            zip(
                (response.prompt_id for response in answered),
                judge.score(items, progress=job.progress),
                strict=True,
            )
        )
        none = JudgeScore(score=None, failure="the prompt doesn't fit the model")
        rows = [_row(response, given.get(response.prompt_id, none)) for response in responses]
        write_rows(job.out / SCORES, rows)
        return {"missing": sum(row.score is None for row in rows)}


def _row(response: Response, given: JudgeScore) -> Score:
    return Score(
        prompt_id=response.prompt_id,
        axis=response.axis,
        score=given.score,
        failure=given.failure,
        flags=given.flags,
    )


def read_scores(folder: Path) -> list[Score]:
    """Read a finished ScoreResponses' scores."""
    return list(read_rows(folder / SCORES, Score))


@dataclass(frozen=True, kw_only=True)
class Calibrate(Stage):
    """Choose a judge's thresholds on labelled pairs that hold no evaluation prompt."""

    kind: ClassVar[str] = "calibrate"
    numeric: ClassVar[bool] = True
    prompts: SelectPrompts
    settings: JudgeSettings
    model: JudgeModel
    protocol: Literal["paper", "rigorous"]

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write calibration.json: threshold and accuracy by axis."""
        judge = build(self.settings, _judge_folder(self.model, job), job.device)
        found = {}
        for axis, pairs in read_calibration(job.folder_of(self.prompts)).items():
            items = [item for pair in pairs for item in _both(pair, self.protocol)]
            scores = [given.score for given in judge.score(items, progress=job.progress)]
            rounded = [None if score is None else round(score, DECIMALS) for score in scores]
            found[axis.value] = asdict(best_threshold(*_finite(rounded, axis)))
        write_json(job.out / CALIBRATION, found)
        return {}


def _both(pair: Pair, protocol: str) -> list[tuple[str, str]]:
    """Give the pair's two responses as the judge reads a model's under the same protocol."""
    prompt = pair.prompt
    if protocol == "paper":  # whose prompts are stripped and end without a cue
        prompt = prompt.removesuffix(CUE).strip()
    return [(prompt, (text or "").strip()) for text in (pair.chosen, pair.rejected)]


def _finite(scores: list[float | None], axis: Axis) -> tuple[list[float], list[float]]:
    """Split scores into chosen and rejected, leaving pairs out where one is missing."""
    pairs = list(zip(scores[::2], scores[1::2], strict=True))
    whole = [(c, r) for c, r in pairs if c is not None and r is not None]
    if len(whole) < 0.99 * len(pairs):
        raise GuardError(
            f"the judge gave no finite score on {len(pairs) - len(whole)} of {len(pairs)}"
            f" calibration pairs ({axis.value})",
            why="thresholds chosen on the rest would not be the judge's",
            mend="use another judge, or give thresholds as numbers",
        )
    return [c for c, _ in whole], [r for _, r in whole]
