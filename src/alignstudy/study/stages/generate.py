"""Stages that make responses and scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from alignstudy.errors import DamagedArtefactError
from alignstudy.generation import GenerationSettings, generate
from alignstudy.generation.served.process import find_server
from alignstudy.judges import JudgeScore
from alignstudy.models.rendering import load_rendering
from alignstudy.records import Prompt, Response, Score, StopReason, read_rows, write_rows
from alignstudy.runtime.files import replace_text
from alignstudy.runtime.sealed import read_sealed, sealed
from alignstudy.study.cost.memory import Footprint
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.cost.token_lengths import NotCountableError, Text, token_lengths
from alignstudy.study.cost.work import (
    LONG_TEXT,
    ROWS_AT_ONCE,
    TOKEN_BYTES,
    Passes,
    total_flops,
)
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.stages.online import kept_judge
from alignstudy.study.stages.score import JudgeSpec, JudgeStage, read_by
from alignstudy.study.stages.sources import PromptSource, read_prompts
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.weights import weights_of

RESPONSES = "responses.jsonl"
SCORES = "scores.jsonl"

AT_ONCE = 1024
"""Prompts whose responses are kept together: what a kill costs at most."""

UNANSWERED = JudgeScore(score=None, failure="the prompt doesn't fit the model")


@dataclass(frozen=True, kw_only=True)
class Generate(Stage):
    """Generate one model's responses to every prompt."""

    kind: ClassVar[str] = "generate"
    numeric: ClassVar[bool] = True
    model: Stage
    prompts: PromptSource
    settings: GenerationSettings
    protocol: Literal["paper", "rigorous"]
    seed: int
    template: str

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write responses.jsonl, in the prompts' order; what was written before a kill is kept."""
        weights, prompts = weights_of(self.model, job), self.asked(job.folder_of)
        responses: list[Response] = []
        facts: dict[str, str] = {}
        # A server is started once, and its responses are kept one by one.
        served = self.settings.engine == "openai"
        for at in range(0, len(prompts), max(1, len(prompts)) if served else AT_ONCE):
            kept = job.work / f"responses-{at}.json"
            some = prompts if served else prompts[at : at + AT_ONCE]
            written = None if served else self._kept(kept, some)
            if written is None:
                written = generate(
                    weights,
                    some,
                    self.settings,
                    protocol=self.protocol,
                    device=job.device,
                    seed=self.seed,
                    progress=job.progress,
                    workers=job.workers,
                    template=self.template,
                    work=job.work,
                    facts=facts,
                )
                if not served:
                    self._keep(kept, written)
            responses += written
        texts = {prompt.id: prompt.text for prompt in read_prompts(job.folder_of(self.prompts))}
        responses = [replace(each, prompt=texts[each.prompt_id]) for each in responses]
        write_rows(job.out / RESPONSES, responses)
        said = load_rendering(weights.base or weights.folder, self.template).outcome().detail
        tokens = sum(response.num_tokens for response in responses)
        return {"tokens": tokens, "template": said, **facts}

    @property
    def shown(self) -> int:
        """Tokens that each prompt is shown besides, at most."""
        return 0

    def _keep(self, path: Path, responses: list[Response]) -> None:
        record = {"stage": self.key, "responses": [asdict(each) for each in responses]}
        replace_text(path, sealed(record))

    def _kept(self, path: Path, prompts: list[Prompt]) -> list[Response] | None:
        """Read responses that were written before a kill; None unless all are as they were written.

        A disk that lost a bit, or a machine that lost its power, has other ones than the model's.
        """
        try:
            record = read_sealed(path, what="kept responses", hint="")
            found = [Response(**each) for each in record["responses"]]
        except (DamagedArtefactError, FileNotFoundError):
            return None
        if record["stage"] != self.key:
            return None
        samples = range(self.settings.num_samples)
        wanted = [(prompt.id, sample) for prompt in prompts for sample in samples]
        return found if [(each.prompt_id, each.sample) for each in found] == wanted else None

    def asked(self, folder_of: FolderOf) -> list[Prompt]:
        """Read what the model is asked."""
        return read_prompts(folder_of(self.prompts))

    def tokenizer(self, folder_of: FolderOf) -> Path:
        """Return the folder of the model's configuration and tokenizer; an adapter's has none."""
        model = self.model
        return folder_of(model.parent if isinstance(model, Train) and model.is_adapter else model)

    def planned_work(self, folder_of: FolderOf) -> list[Passes]:
        """Count the prompts' tokens, and responses as long as they may be."""
        prompts, folder = self.prompts.ahead(folder_of), self.tokenizer(folder_of)
        lengths = token_lengths(folder, [prompt.text for prompt in prompts])
        new = self.settings.max_new_tokens
        asked = [(length + self.shown, new) for length in lengths] * self.settings.num_samples
        return self._passes(folder, asked)

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Count a pass over each prompt and one over each token written; padding is left out."""
        folder = self.tokenizer(folder_of)
        written = [r for r in read_responses(out) if r.stop_reason != StopReason.TOO_LONG]
        try:
            asked = {prompt.id: prompt.text for prompt in self.asked(folder_of)}
            lengths = token_lengths(folder, [asked[response.prompt_id] for response in written])
        except NotCountableError:
            return {}
        news = [response.num_tokens for response in written]
        flops = total_flops(self._passes(folder, list(zip(lengths, news, strict=True))))
        return {} if flops is None else {"flops": flops, "prompt_tokens": sum(lengths)}

    def _passes(self, folder: Path, sizes: list[tuple[int, int]]) -> list[Passes]:
        shape, done = read_shape(folder), []
        for length, new in sizes:
            done.append(Passes(shape=shape, tokens=length, context=length, scored=1))
            done.append(Passes(shape=shape, tokens=new, context=length + new / 2, scored=new))
        return done

    def footprint(self) -> Footprint | None:
        """Count the weights, the keys and values of a batch, and the text of all responses."""
        shape, settings = self.model.model_shape(), self.settings
        if shape is None:
            return None
        asked = (self.prompts.expected or LONG_TEXT) * settings.num_samples
        rows, length = settings.batch_size or ROWS_AT_ONCE, LONG_TEXT + settings.max_new_tokens
        served = shape.parameters if settings.engine == "openai" else 0.0  # it loads its own
        return Footprint(
            shape=shape,
            rows=min(asked, rows),
            length=length,
            held=served,
            saved=served,
            text=TOKEN_BYTES * asked * length,
            in_4bit=isinstance(self.model, Train) and self.model.settings.in_4bit,
            dtype=settings.dtype,
        )

    def likeness(self) -> str:
        """Keep a server's pace apart."""
        served = "" if self.settings.engine == "transformers" else f" {self.settings.engine}"
        return f"{super().likeness()}{served}"


def read_responses(folder: Path) -> list[Response]:
    """Read a finished Generate's responses."""
    return list(read_rows(folder / RESPONSES, Response))


def ask_for_the_server(stages: Iterable[Stage]) -> str:
    """Look for the server that stages need; return how it is reached, "" if none is needed.

    Raises:
        InputError: If this machine hasn't the program that starts it.
        EnvironmentFault: If nobody is there.
    """
    for stage in stages:
        if isinstance(stage, Generate) and stage.settings.engine == "openai":
            return find_server(stage.settings)
    return ""


@dataclass(frozen=True, kw_only=True)
class ScoreResponses(JudgeStage):
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
        answered = [r for r in responses if r.stop_reason != StopReason.TOO_LONG]
        judge = kept_judge(self.judge, self.device_class, job)
        items = [(response.prompt, response.text) for response in answered]
        scores = judge.score(items, progress=job.progress)
        given = dict(zip(((r.prompt_id, r.sample) for r in answered), scores, strict=True))
        rows = [
            Score(
                prompt_id=r.prompt_id,
                axis=r.axis,
                sample=r.sample,
                **asdict(given.get((r.prompt_id, r.sample), UNANSWERED)),
            )
            for r in responses
        ]
        write_rows(job.out / SCORES, rows)
        return {"missing": sum(row.score is None for row in rows), **read_by(judge.asked)}

    def planned_work(self, folder_of: FolderOf) -> list[Passes]:
        """Count a pass over each prompt and response, which is as long as it may be."""
        asked = self.responses
        prompts = [p for p in asked.prompts.ahead(folder_of) if p.axis in self.judge.axes]
        new = asked.settings.max_new_tokens
        samples = range(asked.settings.num_samples)
        texts: list[Text] = [(prompt.text, "") for prompt in prompts for _ in samples]
        return self.passes_over(texts, folder_of, more=new)


def read_scores(folder: Path) -> list[Score]:
    """Read a finished ScoreResponses' scores."""
    return list(read_rows(folder / SCORES, Score))
