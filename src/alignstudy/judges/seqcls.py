"""Sequence classifiers as judges: the published study's, or one trained on the user's pairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from alignstudy.errors import InputError
from alignstudy.judges.base import JudgeScore
from alignstudy.judges.pairs import EncodedPair, PairEncoder
from alignstudy.loading import (
    length_batches,
    load_classifier,
    load_tokenizer,
    output_index,
    run_halving,
)
from alignstudy.progress import SILENT, Progress
from alignstudy.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


MAX_BATCH_TOKENS = 32768
"""Rows times longest row of a batch."""


class SeqClsSettings(Settings):
    """How a sequence classifier reads and scores."""

    use: Literal["seqcls"] = "seqcls"
    input: Literal["pair"] = Field(
        "pair", description="What it reads: prompt and response as a pair of texts."
    )
    output: int | str | None = Field(
        None, description="Index or label of the output that is the score, if there are several."
    )
    truncation: Literal["turns", "paper"] = Field(
        "turns",
        description="turns: too long a prompt loses its oldest turns, then its first tokens, the"
        " response nothing. paper: the tokenizer's truncation=True, as published: the longer of"
        " the two loses its end, and nothing is cut if the tokenizer's files name no length.",
    )
    max_length: int | None = Field(
        None, ge=8, description="Most tokens it reads; left out: what the model's files say."
    )
    batch_size: int | None = Field(
        None, ge=1, description="Most pairs at once; left out: 1 on a CPU (fastest), 32 on a GPU."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the weights in memory."
    )


class SeqClsJudge:
    """Scores with a sequence classifier; one logit, input the pair (prompt, response)."""

    name = "seqcls"
    settings: ClassVar[type[SeqClsSettings]] = SeqClsSettings

    def __init__(self, settings: SeqClsSettings, folder: Path, device: str) -> None:
        self._settings, self._folder, self._device = settings, folder, device
        tokenizer = load_tokenizer(folder)
        self._padding = tokenizer.pad_token_id
        self._model = self._load(settings.dtype)
        self._column = output_index(self._model.config, settings.output, where=str(folder))
        self._pairs = PairEncoder(
            tokenizer,
            self._model.config,
            truncation=settings.truncation,
            max_length=settings.max_length,
        )
        self._batch_size = settings.batch_size or (1 if device == "cpu" else 32)
        if self._padding is None:
            self._batch_size = 1

    @classmethod
    def build(cls, settings: SeqClsSettings, folder: Path | None, device: str) -> Self:
        """Load the judge.

        Raises:
            InputError: If no folder is given, or its files are missing.
            GuardError: If the head isn't trained, or there are several outputs and none is named.
        """
        if folder is None:
            raise InputError("a seqcls judge needs a model", mend="name a hub id or a folder")
        return cls(settings, folder, device)

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs; equal pairs get the same score, to the bit."""
        progress.start("judge", total=len(items))
        copies = Counter(items)
        distinct = list(copies)
        encoded = [self._pairs.encode(prompt, response) for prompt, response in distinct]
        scores: dict[tuple[str, str], JudgeScore] = {}
        for batch in self._batches(encoded):
            logits = run_halving([encoded[n] for n in batch], self._logits, note=progress.note)
            for number, logit in zip(batch, logits, strict=True):
                scores[distinct[number]] = self._judged(encoded[number], logit)
            progress.advance(sum(copies[distinct[number]] for number in batch))
        progress.finish()
        return [scores[item] for item in items]

    def _batches(self, encoded: Sequence[EncodedPair]) -> list[list[int]]:
        lengths = [len(pair.inputs["input_ids"]) for pair in encoded]
        return length_batches(
            lengths, batch_size=self._batch_size, max_batch_tokens=MAX_BATCH_TOKENS
        )

    def _logits(
        self, pairs: Sequence[EncodedPair], model: PreTrainedModel | None = None
    ) -> list[float]:
        """Give the score column's logits of one batch."""
        import torch

        model = model or self._model
        inputs = self._pairs.collate(pairs).to(self._device)
        with torch.inference_mode():
            logits = model(**inputs).logits[:, self._column]
        return [float(logit) for logit in logits.float().tolist()]

    def _judged(self, pair: EncodedPair, logit: float) -> JudgeScore:
        """Turn a logit into a score; one that is not finite is tried once more, in float32."""
        if math.isfinite(logit):
            return JudgeScore(score=logit, flags=pair.flags)
        model = self._model if self._settings.dtype == "float32" else self._load("float32")
        (again,) = self._logits([pair], model)
        if math.isfinite(again):
            return JudgeScore(score=again, flags=pair.flags)
        failure = f"the judge gave {logit}, and {again} in float32, for: {self._pairs.show(pair)}"
        return JudgeScore(score=None, failure=failure, flags=pair.flags)

    def _load(self, dtype: str) -> PreTrainedModel:
        """Load the classifier."""
        model = load_classifier(
            self._folder, dtype=dtype, device=self._device, output=self._settings.output
        )
        # Decoders score at the last token that isn't padding, which they know by this id.
        if self._padding is not None:
            model.config.pad_token_id = self._padding
        return model
