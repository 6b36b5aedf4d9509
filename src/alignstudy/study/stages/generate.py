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

UNANSWERED = JudgeScore(score=None, failure="the prompt doesn't fit the model")


@dataclass(frozen=True, kw_only=True)
class Generate(Stage):
    """Generate one model's response to every prompt."""

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
            weights_of(self.model, job),
            read_prompts(job.folder_of(self.prompts)),
            self.settings,
            protocol=self.protocol,
            device=job.device,
            seed=self.seed,
            progress=job.progress,
            workers=job.workers,
            kernels=job.kernels,
        )
        write_rows(job.out / RESPONSES, responses)
        return {"tokens": sum(response.num_tokens for response in responses)}


def read_responses(folder: Path) -> list[Response]:
    """Read a finished Generate's responses."""
    return list(read_rows(folder / RESPONSES, Response))


@dataclass(frozen=True, kw_only=True)
class ScoreResponses(Stage):
    """Score one model's responses with one judge."""

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
        inputs = {name: v for name, v in self.fingerprint_inputs.items() if name != "responses"}
        judge = cached(self.judge.build(job), ScoreCache(job.scores), digest(inputs))
        items = [(response.prompt, response.text) for response in answered]
        scores = judge.score(items, progress=job.progress)
        given = dict(zip((r.prompt_id for r in answered), scores, strict=True))
        rows = []
        for response in responses:
            found = given.get(response.prompt_id, UNANSWERED)
            rows.append(
                Score(
                    prompt_id=response.prompt_id,
                    axis=response.axis,
                    score=found.score,
                    failure=found.failure,
                    flags=found.flags,
                )
            )
        write_rows(job.out / SCORES, rows)
        return {"missing": sum(row.score is None for row in rows), **read_by(judge.asked)}


def read_scores(folder: Path) -> list[Score]:
    """Read a finished ScoreResponses' scores."""
    return list(read_rows(folder / SCORES, Score))
