"""Sequence classifiers as judges: the published study's, or one trained on the user's pairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from alignstudy.errors import GuardError, InputError
from alignstudy.judges.base import JudgeScore
from alignstudy.judges.kinds.heads import Head
from alignstudy.judges.quality.spread import Pool, scoring_pool
from alignstudy.models.batching import length_batches, run_halving
from alignstudy.models.encoders.chat import ChatEncoder, TextEncoder
from alignstudy.models.encoders.encoding import Encoded, Encoder, most_tokens
from alignstudy.models.encoders.pairs import PairEncoder
from alignstudy.models.inspection import inspect_folder
from alignstudy.models.load import load_classifier, output_index
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.progress import SILENT, Progress
from alignstudy.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


MAX_BATCH_TOKENS = 32768
"""Rows times longest row of a batch."""


class SeqClsSettings(Settings):
    """How a sequence classifier reads and scores."""

    use: Literal["seqcls"] = "seqcls"
    input: Literal["pair", "chat", "text"] = Field(
        "pair",
        description="What it reads. pair: prompt and response as a pair of texts. chat: the whole"
        " dialogue by the tokenizer's chat template. text: the whole dialogue as one text with"
        " role tags.",
    )
    rendering: Literal["paper", "oa_trained", "last_turn", "auto"] = Field(
        "paper",
        description="How a pair shows several turns. paper: the prompt with its tags, as published."
        " oa_trained: as OpenAssistant's training code cut this data. last_turn: the last human"
        " turn only. auto: what ranks the calibration pairs best.",
    )
    output: int | str | None = Field(
        None, description="Index or label of the output that is the score, if there are several."
    )
    read: str | None = Field(
        None,
        description="Name of the model's output that is the score, with its column if it has"
        " several: `score`, `rewards[10]`; left out: its logits.",
    )
    better: Literal["higher", "lower"] = Field(
        "higher",
        description="Which way it counts; lower (a cost): scores are negated, so that the higher"
        " is the better everywhere, thresholds included.",
    )
    measures: str = Field(
        "both", description="The axis whose responses it may score, by its name; both: all axes."
    )
    truncation: Literal["turns", "paper"] = Field(
        "turns",
        description="turns: too long a prompt loses its oldest turns, then its first tokens, the"
        " response nothing. paper: the tokenizer's truncation=True, as published: the longer of"
        " the two loses its end, and nothing is cut if the tokenizer's files name no length.",
    )
    max_length: int | None = Field(
        None, ge=8, description="Most tokens it reads; left out: as the model's files set."
    )
    batch_size: int | None = Field(
        None, ge=1, description="Most pairs at once; left out: 1 on a CPU (fastest), 32 on a GPU."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the weights in memory."
    )

    @field_validator("read")
    @classmethod
    def _read_is_a_name(cls, expression: str | None) -> str | None:
        if expression is not None:
            Head.parse(expression)
        return expression

    @model_validator(mode="after")
    def _check_consistency(self) -> SeqClsSettings:
        if self.read is not None and self.output is not None:
            raise ValueError("give `read` or `output`, and not both")
        if self.input != "pair" and (self.rendering, self.truncation) != ("paper", "turns"):
            raise ValueError("`rendering` and `truncation` are read only with `input: pair`")
        return self


class SeqClsJudge:
    """Scores with a sequence classifier; one number a dialogue, shown as its settings ask.

    Attributes:
        texts_read: How many dialogues went through the model so far.
        tokens_read: Their tokens, padding left out.
    """

    name = "seqcls"
    settings: ClassVar[type[SeqClsSettings]] = SeqClsSettings

    def __init__(
        self, settings: SeqClsSettings, folder: Path, device: str, *, workers: int = 1
    ) -> None:
        self._settings, self._folder, self._device = settings, folder, device
        self.texts_read = self.tokens_read = 0
        try:
            inspect_folder(folder)
        except GuardError as error:
            if "auto_map" not in error.what:
                raise
            raise GuardError(
                error.what,
                why=error.why,
                hint="load it in a function of your own, whose code you have read, and name that"
                " function: {use: python, call: my_module:rate}; or use a judge whose architecture"
                " transformers knows (`alignstudy list judges`), or remove 'auto_map' if this one"
                " is",
            ) from error
        tokenizer = load_tokenizer(folder)
        self._padding = tokenizer.pad_token_id
        self._model = self._load(settings.dtype)
        self._encoder = _encoder(settings, tokenizer, self._model.config)
        self._sign = 1.0 if settings.better == "higher" else -1.0
        # One by one on a CPU: a score then depends on its text alone, to the bit, whatever else is
        # scored or was. A batch's scores differ in the last bits even at equal lengths, where
        # batches of short texts (64 tokens) would be faster; those of 200 tokens gain nothing.
        self._batch_size = settings.batch_size or (1 if device == "cpu" else 32)
        if self._padding is None:
            self._batch_size = 1
        if settings.read is None:
            column = output_index(self._model.config, settings.output, where=str(folder))
            self._head = Head("logits", column)
        else:
            self._head = Head.parse(settings.read)
            self._run([self._encoder.encode("Hello", "Hello")])  # refuses a name that isn't there
        self._workers = workers if device == "cpu" else 1
        self._pool: Pool | None = None

    @classmethod
    def build(
        cls, settings: SeqClsSettings, folder: Path | None, device: str, *, workers: int = 1
    ) -> Self:
        """Load the judge.

        Args:
            settings: How it reads and scores.
            folder: Its model.
            device: Where it runs.
            workers: Processes that the work may be spread over, on a CPU and where that pays. They
                start with the first work that is worth it, and stay until `close`.

        Raises:
            InputError: If no folder is given, or its files (a chat template for `input: chat`)
                are missing.
            GuardError: If the head isn't trained, if there are several outputs and none is named,
                or if the folder would run code of its own.
        """
        if folder is None:
            raise InputError("a seqcls judge needs a model", hint="name a hub id or a folder")
        return cls(settings, folder, device, workers=workers)

    def close(self) -> None:
        """End the worker processes, if there are any; they end with the judge at the latest."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs; equal pairs get the same score, to the bit."""
        progress.start("judge", total=len(items))
        copies = Counter(items)
        distinct = list(copies)
        encoded = [self._encoder.encode(prompt, response) for prompt, response in distinct]
        scores: dict[tuple[str, str], JudgeScore] = {}
        sound = [at for at, row in enumerate(encoded) if not row.fault]
        lengths = [len(encoded[at].inputs["input_ids"]) for at in sound]
        found = length_batches(
            lengths, batch_size=self._batch_size, max_batch_tokens=MAX_BATCH_TOKENS
        )
        faulty = [[at] for at, row in enumerate(encoded) if row.fault]
        batches = [[sound[at] for at in batch] for batch in found] + faulty
        tasks = [[encoded[at] for at in batch] for batch in batches]
        if self._pool is None:
            load = partial(load_scorer, self._settings, self._folder)
            self._pool = scoring_pool(load, self._model, tasks, workers=self._workers)
        if self._pool is None:
            given: Iterator[list[JudgeScore]] = (
                self.score_rows(rows, progress.note) for rows in tasks
            )
        else:
            given = self._pool.map(tasks, note=progress.note)
        for batch, marks in zip(batches, given, strict=True):
            scores |= {distinct[at]: score for at, score in zip(batch, marks, strict=True)}
            progress.advance(sum(copies[distinct[at]] for at in batch))
        self.texts_read += len(lengths)
        self.tokens_read += sum(lengths)
        progress.finish()
        return [scores[item] for item in items]

    def rendered(self, prompt: str, response: str) -> str:
        """Return the tokens that the model reads, with what was cut."""
        return self._encoder.encode(prompt, response).text

    def score_rows(self, rows: Sequence[Encoded], note: Callable[[str], None]) -> list[JudgeScore]:
        """Score one batch of encoded rows in this process; a faulty row stands alone."""
        if rows[0].fault:
            return [self._judged(rows[0], math.nan)]
        numbers = run_halving(rows, self._run, note=note)
        return [self._judged(row, number) for row, number in zip(rows, numbers, strict=True)]

    def _run(self, rows: Sequence[Encoded], model: PreTrainedModel | None = None) -> list[float]:
        """Return the scores of one batch, the higher the better."""
        import torch

        model = model or self._model
        inputs = self._encoder.collate(rows).to(self._device)
        with torch.inference_mode():
            numbers = self._head.of(model(**inputs), model.config.id2label)
        return [self._sign * float(number) for number in numbers.float().tolist()]

    def _judged(self, row: Encoded, raw: float) -> JudgeScore:
        """Turn a number into a score; one that is not finite is tried once more, in float32."""
        if row.fault:
            return JudgeScore(score=None, failure=row.fault, flags=row.flags)
        if math.isfinite(raw):
            return JudgeScore(score=raw, flags=row.flags)
        model = self._model if self._settings.dtype == "float32" else self._load("float32")
        (again,) = self._run([row], model)
        if math.isfinite(again):
            return JudgeScore(score=again, flags=row.flags)
        failure = f"the judge gave {raw}, and {again} in float32, for: {self._encoder.show(row)}"
        return JudgeScore(score=None, failure=failure, flags=row.flags)

    def _load(self, dtype: str) -> PreTrainedModel:
        """Load the classifier."""
        # With `read` the number of labels means nothing: the named output is looked at instead.
        output = self._settings.output if self._settings.read is None else 0
        model = load_classifier(self._folder, dtype=dtype, device=self._device, output=output)
        # Decoders score at the last token that isn't padding, which they know by this id.
        if self._padding is not None:
            model.config.pad_token_id = self._padding
        return model


def load_scorer(
    settings: SeqClsSettings, folder: Path
) -> Callable[[Sequence[Encoded], Callable[[str], None]], list[JudgeScore]]:
    """Load the judge in a worker process; return what scores a batch."""
    return SeqClsJudge(settings, folder, "cpu").score_rows


def _encoder(
    settings: SeqClsSettings,
    tokenizer: PreTrainedTokenizerBase,
    config: Any,  # noqa: ANN401
) -> Encoder:
    """Make what turns dialogues into the judge's tokens."""
    as_published = settings.truncation == "paper"
    most = most_tokens(tokenizer, config, settings.max_length, as_published=as_published)
    if settings.input == "chat":
        return ChatEncoder(tokenizer, most)
    if settings.input == "text":
        return TextEncoder(tokenizer, most)
    if settings.rendering == "auto":
        raise InputError(
            "`rendering: auto` was not chosen yet",
            why="it is what ranks calibration pairs best",
            hint="calibrate the judge first, or name the rendering",
        )
    return PairEncoder(
        tokenizer, most, truncation=settings.truncation, rendering=settings.rendering
    )
