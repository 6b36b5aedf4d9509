"""Stages that make responses and scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from alignstudy.generation import GenerationSettings, generate
from alignstudy.judges import JudgeScore
from alignstudy.judges.cache import ScoreCache, cached
from alignstudy.records import Response, Score, StopReason, read_rows, write_rows
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.stages.data import SelectPrompts, read_prompts
from alignstudy.study.stages.score import JudgeSpec, read_by
from alignstudy.study.stages.train import weights_of

RESPONSES = "responses.jsonl"
SCORES = "scores.jsonl"


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
            workers=job.workers, kernels=job.kernels,
        )  # fmt: skip
        write_rows(job.out / RESPONSES, responses)
        return {"tokens": sum(response.num_tokens for response in responses)}


def read_responses(folder: Path) -> list[Response]:
    """Read a finished Generate's responses."""
    return list(read_rows(folder / RESPONSES, Response))


@dataclass(frozen=True, kw_only=True)
class ScoreResponses(Stage):
    """Let one judge score one model's responses."""

    kind: ClassVar[str] = "score"
    numeric: ClassVar[bool] = True
    responses: Generate
    judge: JudgeSpec

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write scores.jsonl; a response that couldn't be made has no score, with the reason.

        Scores are kept by judge and by what it read: a text that it has scored before, in this
        study or another, is not scored again.
        """
        responses = [
            response
            for response in read_responses(job.folder_of(self.responses))
            if response.axis in self.judge.axes
        ]
        answered = [r for r in responses if r.stop_reason is not StopReason.TOO_LONG]
        made_of = {
            name: self.fingerprint_inputs[name]
            for name in self.fingerprint_inputs
            if name != "responses"
        }
        judge = cached(self.judge.build(job), ScoreCache(job.scores), digest(made_of))
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
        return {"missing": sum(row.score is None for row in rows), **read_by(judge.asked)}


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
