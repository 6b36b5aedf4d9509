"""Our way: the product's own code, called as a study calls it, and timed around the work itself.

All that the benchmarks use of alignstudy is used here.
"""

from __future__ import annotations

import gc
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness import Sample, processor_seconds, stopwatch

JUDGE = "small-judge"
PREPARED = ("base", f"judge/{JUDGE}", "rows/train", "prompts")

NEVER = 10**9
"""Updates between checkpoints: none but the one after the last."""

Mark = tuple[float, float]
"""Clock and processor."""


@dataclass
class Piece:
    """A piece of work: marks at its start and at every step, and at its end."""

    name: str
    marks: list[Mark] = field(default_factory=list)
    end: Mark | None = None


class Timeline:
    """A `Progress` that keeps when every piece of work began, stepped and ended."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def start(self, what: str, total: int | None = None) -> None:
        self.finish()
        gc.collect()
        self.pieces.append(Piece(what, [_now()]))

    def advance(self, done: int, **figures: float) -> None:
        self.pieces[-1].marks.append(_now())

    def finish(self) -> None:
        if self.pieces and self.pieces[-1].end is None:
            self.pieces[-1].end = _now()

    def note(self, text: str) -> None:
        pass

    def total(self, name: str) -> Sample:
        """Add up the pieces whose names begin so."""
        found = Sample()
        for piece in self.pieces:
            if piece.name.startswith(name):
                _add(found, piece.marks[0], piece.end or piece.marks[-1])
        return found


def _now() -> Mark:
    return time.perf_counter(), processor_seconds()


def _add(sample: Sample, first: Mark, last: Mark) -> None:
    sample.wall += last[0] - first[0]
    sample.cpu += last[1] - first[1]


def collect(source: Path, **selection: Any) -> list[Any]:
    """Read pairs of HH-RLHF's test splits: rows with `prompt`, `chosen` and `rejected`."""
    from alignstudy.data.select.collect import collect_pairs
    from alignstudy.data.select.selection import RowSelection

    wanted = RowSelection(split="test", **selection)
    return list(collect_pairs(source, wanted, part="benchmark").rows)


def write_model_folder(
    folder: Path, *, texts: Sequence[str], vocab_size: int, **architecture: Any
) -> None:
    """Write a configuration, and a tokenizer that is trained on texts; no weights."""
    from alignstudy.methods.weights import scratch

    shape = scratch.ArchitectureSettings(**architecture)
    tokenizer = scratch.TokenizerSettings(vocab_size=vocab_size)
    scratch.build_scratch_model_folder(shape, folder, tokenizer=tokenizer, texts=texts)


def train(
    method: str,
    parent: Path,
    rows: Sequence[Any],
    settings: dict[str, Any],
    *,
    references: Path | None = None,
    device: str = "cpu",
    most_seconds: float = math.inf,
) -> Sample:
    """Train by the product; the seconds are the reference's and the training loop's.

    What comes before (reading the model, encoding, guards) is not timed on either side, nor is
    the checkpoint after the last update: TRL's are switched off.

    Args:
        method: A name of METHODS.
        parent: Folder of the model.
        rows: What to train on.
        settings: The study file's entry.
        references: File of reference log-probabilities; None: none is kept.
        device: "cpu" or "cuda".
        most_seconds: Stop after so long: there are no counters then.

    Returns:
        Also, as `found`: the clock at the start and after every update ("marks"), on a GPU after
        every sixteenth; the seconds of the reference and of the checkpoint, and all others but the
        updates' ("outside"); of a run that wasn't stopped its losses and its notes.
    """
    from alignstudy.errors import InterruptedRunError
    from alignstudy.methods import METHODS, TrainJob
    from alignstudy.methods.loop.train import train

    timeline, counters, losses = Timeline(), {}, []
    notes: Sequence[str] = ()
    began, deadline = time.perf_counter(), time.monotonic() + most_seconds
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as work:
        job = TrainJob(
            settings=METHODS.load(method).settings_type(**{"save_steps": NEVER} | settings),
            parent=parent,
            rows=list(rows),
            seed=42,
            out=Path(out),
            work=Path(work),
            digest="benchmark",
            device=device,
            references=references,
            progress=timeline,
            should_stop=lambda: time.monotonic() > deadline,
        )
        try:
            result = train(job)
            counters, notes = _counters(result), result.notes
            lines = (job.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            losses = [json.loads(line)["loss"] for line in lines]
        except InterruptedRunError:
            if most_seconds == math.inf:
                raise
        took = time.perf_counter() - began
    sample, whole = timeline.total("reference"), timeline.total("training")
    loops = [piece.marks for piece in timeline.pieces if piece.name.startswith("training")]
    marks = loops[-1] if loops else [_now()]  # stopped before the loop: no update
    sample.found = {
        "marks": [clock for clock, _ in marks],
        "reference": sample.wall,
        "checkpoint": max(0.0, whole.wall - (marks[-1][0] - marks[0][0])),
        "outside": took - whole.wall - sample.wall,
        "losses": losses,
        "notes": notes,
    }
    sample.counters = counters
    _add(sample, marks[0], marks[-1])
    return sample


def train_without_graphs(*given: Any, **more: Any) -> Sample:
    """Train with every kernel launched by itself; see `train`."""
    from alignstudy.methods.loop import graphed

    kept = dict(graphed.RECORDERS)
    graphed.RECORDERS.clear()
    try:
        return train(*given, **more)
    finally:
        graphed.RECORDERS.update(kept)


def _counters(result: Any) -> dict[str, float]:
    work = result.work
    return {
        "real tokens": work.real_tokens,
        "processed tokens": work.processed_tokens,
        "scored tokens": work.scored_tokens,
        "reference pairs": work.reference_pairs,
        "micro-batches": work.micro_batches,
        "processed / real": work.processed_tokens / max(work.real_tokens, 1),
        "optimizer steps": result.steps,
    }


def generate(
    folder: Path,
    texts: Sequence[str],
    *,
    max_new_tokens: int = 50,
    device: str = "cpu",
    workers: int = 1,
    **others: Any,
) -> Sample:
    """Let the product answer, with other settings of generation; `found`: (text, tokens) a prompt.

    The seconds include reading the model, and starting worker processes where there are any.
    """
    from alignstudy import generation
    from alignstudy.records import Prompt, Weights

    timeline = Timeline()
    prompts = [Prompt(id=str(at), axis="helpful", text=text) for at, text in enumerate(texts)]
    settings = generation.GenerationSettings(max_new_tokens=max_new_tokens, **others)
    how: dict[str, Any] = {"protocol": "paper", "seed": 0, "device": device, "workers": workers}
    weights = Weights(folder=folder)
    responses = generation.generate(weights, prompts, settings, progress=timeline, **how)
    sample = timeline.total("generate")
    sample.found = [(response.raw_text, response.num_tokens) for response in responses]
    sample.counters = {"prompts": len(texts), "new tokens": sum(n for _, n in sample.found)}
    return sample


def score(
    folder: Path, pairs: Sequence[tuple[str, str]], *, device: str = "cpu", workers: int = 1
) -> Sample:
    """Score by the product's judge, once loaded; `found` is the scores.

    The judge is kept for later calls, and with it its worker processes: they start with the first
    call that gives them enough to do, whose seconds hold their start.
    """
    judge, timeline = _judge(folder, device, workers), Timeline()
    scores = judge.score(list(pairs), progress=timeline)
    sample = timeline.total("judge")
    sample.found = [given.score for given in scores]
    sample.counters = {"pairs": len(pairs)}
    if workers > 1:
        sample.cpu = math.nan  # the workers live on: what they used is not known yet
    return sample


@cache
def _judge(folder: Path, device: str, workers: int) -> Any:
    from alignstudy.judges.kinds.seqcls import SeqClsJudge, SeqClsSettings

    settings = SeqClsSettings(truncation="paper", max_length=512)
    return SeqClsJudge.build(settings, folder, device, workers=workers)


def _study(source: Path, home: Path, out: Path, workers: str = "auto") -> Any:
    """Read hh-small; its judge cuts as the notebooks' did, so that equal texts score equally."""
    os.environ["ALIGNSTUDY_HOME"] = str(home)
    from alignstudy import Study

    name = json.dumps(str(source))
    changes = [f"data.source={name}", "judges.0.truncation=paper", f"workers={workers}"]
    return Study.load("hh-small", overrides=changes, out=out, offline=True)


def prepare_study(source: Path, home: Path, out: Path) -> dict[str, Any]:
    """Make what both sides start from; return where it lies, and what is asked of them."""
    from alignstudy.metrics.axes import axis_named
    from alignstudy.study.graph.stage import in_order
    from alignstudy.study.stages.sources import read_part, read_prompts

    study = _study(source, home, out)
    for name in PREPARED:
        study.run(only=name)
    goals, settings = study.graph(study.located(fetch=False)).goals, study.settings
    stages: dict[str, Any] = {stage.name: stage for stage in in_order(goals)}
    base, judge, rows, prompts = (
        study.store.folder(stages[name].kind, stages[name].key) for name in PREPARED
    )
    return {
        "base": base,
        "judge": judge,
        "rows": read_part(stages["rows/train"], rows),
        "prompts": [(axis_named(p.axis).prompts, p.text) for p in read_prompts(prompts)],
        "sft": settings.methods["sft"],
        "dpo": settings.methods["dpo"],
        "seed": settings.seeds[0],
        "max_new_tokens": settings.generation.max_new_tokens,
        "judge_length": settings.judges[0].settings.max_length,
    }


def run_study(source: Path, home: Path, out: Path, *, only: str | None, workers: str) -> Sample:
    """Run the study, or its stages of one kind; `found`: seconds by kind of stage."""
    study = _study(source, home, out, workers)
    sample = Sample(found={})
    with stopwatch(sample):
        run = study.run(only=only)
    for line in json.loads((out / "provenance.json").read_text(encoding="utf-8"))["stages"]:
        if line["stage"] in run.executed:
            kind = line["stage"].partition("/")[0]
            sample.found[kind] = round(sample.found.get(kind, 0.0) + line["seconds"], 2)
    return sample


def evaluate(folder: Path, out: Path, thresholds: Mapping[str, float]) -> tuple[Any, Any]:
    """Evaluate the ratings in a folder; return the tables of rates and of comparisons."""
    import alignstudy

    found = alignstudy.evaluate(folder, out=out, base="notebook", thresholds=thresholds)
    return found.table("metrics"), found.table("comparisons")
