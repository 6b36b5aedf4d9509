"""Our way: the product's own code, called as a study calls it, and timed around the work itself."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness import Sample, processor_seconds, stopwatch

from alignstudy.records import Pair, Prompt, Weights


@dataclass
class Stages:
    """A `Progress` that keeps the seconds of each piece of work by what it is called.

    Attributes:
        seconds: By name of the piece.
        marks: Clock and processor at every step of the piece, by name; the first is its start.
    """

    seconds: dict[str, Sample] = field(default_factory=dict)
    marks: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _open: list[Any] = field(default_factory=list)
    _name: str = ""

    def start(self, what: str, total: int | None = None) -> None:
        self.finish()
        self._name = what.partition(" (")[0]
        sample = self.seconds.setdefault(self._name, Sample())
        self.marks[self._name] = [_now()]
        watch = stopwatch(sample)
        watch.__enter__()
        self._open = [watch]

    def advance(self, done: int, **figures: float) -> None:
        self.marks[self._name].append(_now())

    def finish(self) -> None:
        for watch in self._open:
            watch.__exit__(None, None, None)
        self._open = []

    def note(self, text: str) -> None:
        pass

    def total(self, *names: str) -> Sample:
        """Add up the pieces whose names begin with one of `names`."""
        found = Sample()
        for what, sample in self.seconds.items():
            if what.startswith(names):
                found.wall += sample.wall
                found.cpu += sample.cpu
        return found


_NEVER = 10**9
"""Updates between checkpoints: none but the one after the last."""


def _now() -> tuple[float, float]:
    return time.perf_counter(), processor_seconds()


_measured: list[Any] = []
"""What `settle` measured in this process."""


def settle(file: Path | None = None) -> dict[str, Any]:
    """Let this process compute as a study does: the fastest float32 products, measured."""
    from alignstudy.runtime.kernels import settle_kernels

    _measured[:] = [settle_kernels(file)]
    return asdict(_measured[0])


def train(
    method: str,
    settings: dict[str, Any],
    parent: Path,
    rows: Sequence[Pair],
    *,
    references: Path | None = None,
    device: str = "cpu",
    keep: Path | None = None,
    most_seconds: float = math.inf,
) -> Sample:
    """Train by the product; the seconds are the reference's and the training loop's.

    What comes before (reading the model, encoding, guards) is not timed on either side, nor is
    the checkpoint after the last update: TRL's are switched off.

    Args:
        method: A name of METHODS.
        settings: The study file's entry.
        parent: Folder of the model.
        rows: What to train on.
        references: File of reference log-probabilities; None: none is kept.
        device: "cpu" or "cuda".
        keep: Folder for what was trained.
        most_seconds: Stop after so long: `found` then has the steps that were done, and there are
            no counters.
    """
    from alignstudy.errors import InterruptedRunError
    from alignstudy.methods import METHODS, TrainJob

    told = Stages()
    trainer = METHODS.load(method)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        out, work = Path(scratch) / "out", Path(scratch) / "work"
        out.mkdir()
        work.mkdir()
        deadline = time.monotonic() + most_seconds
        job = TrainJob(
            settings=trainer.settings(**{"save_steps": _NEVER} | settings),
            parent=parent, rows=list(rows), seed=42,
            out=out, work=work, digest="benchmark", device=device, references=references,
            progress=told, should_stop=lambda: time.monotonic() > deadline,
        )  # fmt: skip
        result = None
        try:
            result = trainer.train(job)
        except InterruptedRunError:
            if most_seconds == math.inf:
                raise
        if keep is not None:
            shutil.copytree(out, keep)
    sample = told.total("reference")
    marks = told.marks.get("training", [_now()])  # stopped before the loop: no update
    first, last = marks[0], marks[-1]
    sample.wall += last[0] - first[0]
    sample.cpu += last[1] - first[1]
    sample.counters = _counters(result) if result is not None else {}
    sample.found = {
        "loss": None if result is None else result.final_loss,
        "notes": () if result is None else result.notes,
        "seconds": {name: piece.wall for name, piece in told.seconds.items()},
        "marks": [clock for clock, _ in marks],
    }
    return sample


def _counters(result: Any) -> dict[str, float]:
    work = result.work
    return {
        "real tokens": work.real_tokens,
        "processed tokens": work.processed_tokens,
        "processed / real": work.processed_tokens / max(work.real_tokens, 1),
        "scored tokens": work.scored_tokens,
        "reference pairs": work.reference_pairs,
        "micro-batches": work.micro_batches,
        "optimizer steps": result.steps,
    }


@dataclass(frozen=True, kw_only=True)
class Written:
    """A response; tokens: None where another process wrote it."""

    count: int
    text: str
    tokens: list[int] | None


def generate(
    folder: Path,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 50,
    device: str = "cpu",
    workers: int = 1,
) -> Sample:
    """Let the product answer; `found` is a `Written` a prompt.

    The seconds include reading the model, and starting worker processes where there are any.
    """
    from alignstudy.generation import GenerationSettings
    from alignstudy.generation import generate as write
    from alignstudy.models.tokenizers import load_tokenizer

    told = Stages()
    with _recorded() as rows:
        responses = write(
            Weights(folder=folder), list(prompts),
            GenerationSettings(max_new_tokens=max_new_tokens),
            protocol="paper", device=device, seed=0, progress=told, workers=workers,
            kernels=_measured[0] if _measured else None,
        )  # fmt: skip
    tokenizer = load_tokenizer(folder)
    asked = [tuple(tokenizer(prompt.text)["input_ids"]) for prompt in prompts]
    sample = told.total("generate")
    sample.found = [
        Written(count=response.num_tokens, text=response.raw_text, tokens=rows.get(ids))
        for response, ids in zip(responses, asked, strict=True)
    ]
    count = sum(response.num_tokens for response in responses)
    sample.counters = {"prompts": len(prompts), "new tokens": count}
    return sample


@contextmanager
def _recorded() -> Iterator[dict[tuple[int, ...], list[int]]]:
    """Keep the tokens that are written in this process, by the prompt's tokens."""
    from alignstudy.generation import writer

    stock = writer.write_on
    rows: dict[tuple[int, ...], list[int]] = {}

    def write_on(model: Any, texts: Sequence[Any], rules: Any) -> list[Any]:
        written = stock(model, texts, rules)
        rows.update(
            (tuple(text.tokens), list(row.tokens)) for text, row in zip(texts, written, strict=True)
        )
        return written

    writer.write_on = write_on
    try:
        yield rows
    finally:
        writer.write_on = stock


def score(
    folder: Path,
    pairs: Sequence[tuple[str, str]],
    *,
    device: str = "cpu",
    max_length: int | None = None,
    workers: int = 1,
) -> Sample:
    """Score by the product's judge, once loaded; `found` is the scores.

    The judge is kept for later calls, and with it its worker processes: they start with the first
    call that gives them enough to do, whose seconds hold their start.
    """
    judge = _judge(folder, device, max_length, workers)
    told = Stages()
    scores = judge.score(list(pairs), progress=told)
    sample = told.total("judge")
    sample.found = [given.score for given in scores]
    sample.counters = {"pairs": len(pairs)}
    if workers > 1:
        sample.cpu = math.nan  # the workers live on: what they used is not known yet
    return sample


@cache
def _judge(folder: Path, device: str, max_length: int | None, workers: int) -> Any:
    from alignstudy.judges.kinds.seqcls import SeqClsJudge, SeqClsSettings

    settings = SeqClsSettings(truncation="paper", max_length=max_length)
    return SeqClsJudge.build(settings, folder, device, workers=workers)
