"""The arithmetic that a finished stage did, from the tokens that it counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alignstudy.methods import METHODS
from alignstudy.methods.base import WorkDone
from alignstudy.records import StopReason
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.cost.rulers import ruler_of_folder
from alignstudy.study.cost.workload import BACKWARD, BACKWARD_FROZEN
from alignstudy.study.graph.stage import Stage
from alignstudy.study.stages.generate import Generate, ScoreResponses, read_responses
from alignstudy.study.stages.score import Assess, Calibrate, JudgeModel
from alignstudy.study.stages.train import RESULT, Train

FolderOf = Callable[[Stage], Path]


def work_facts(
    stage: Stage, out: Path, folder_of: FolderOf, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `flops` of a finished stage, and the tokens that they are counted from.

    Of a training also `referred`: whether the reference was computed, or known from before.
    Counted where tokens are: trainings, generation, judges. {} elsewhere: nothing is guessed.

    Args:
        stage: The stage.
        out: Its finished folder.
        folder_of: Where its inputs lie.
        found: What the stage told when it had run.
    """
    if isinstance(stage, Train):
        return _training(stage, out, folder_of)
    if isinstance(stage, Generate):
        return _generation(stage, out, folder_of)
    if isinstance(stage, ScoreResponses | Calibrate | Assess):
        return _judging(stage.judge.model, folder_of, found)
    return {}


def _judging(model: JudgeModel, folder_of: FolderOf, found: Mapping[str, Any]) -> dict[str, Any]:
    """Count a pass over every text that the judge read now, not those whose score was kept."""
    texts, tokens = found.get("texts", 0), found.get("tokens", 0)
    if model is None or not texts:
        return {}
    shape = read_shape(folder_of(model) if isinstance(model, Stage) else model.path)
    if shape is None:
        return {}
    return {"flops": shape.forward_flops(tokens=tokens, context=tokens / texts)}


def _training(stage: Train, out: Path, folder_of: FolderOf) -> dict[str, Any]:
    """Count forward and backward: 3 forward passes' work, 2 where the weights are frozen.

    The reference's passes are counted at a mean pair's positions. An adapter's own products
    (below 1 %) and recomputed activations are left out.
    """
    result = json.loads((out / RESULT).read_text(encoding="utf-8"))
    work = WorkDone(**result["work"])
    shape = read_shape(folder_of(stage.parent))
    facts: dict[str, Any] = {"referred": work.reference_pairs > 0}
    if shape is None or not work.processed_tokens:
        return facts
    method = METHODS.load(stage.settings.method)
    rows = max(1, result["steps"] * stage.settings.effective_batch_size)
    length = result["num_tokens"] / rows  # of all branches; a resumed run's counts are its own part
    own = work.real_tokens / max(1.0, length)
    ahead = shape.forward_flops(
        tokens=work.processed_tokens, scored=work.scored_tokens, passes=work.micro_batches,
        context=length / (2 if method.needs_rejected else 1),
    )  # fmt: skip
    times = BACKWARD if stage.settings.lora is None else BACKWARD_FROZEN
    reference = ahead * work.reference_pairs / max(1.0, own)
    total = times * ahead + reference
    return {**facts, "flops": total, "processed_tokens": work.processed_tokens}


def _generation(stage: Generate, out: Path, folder_of: FolderOf) -> dict[str, Any]:
    """Count a pass over each prompt and one over each token written; padding is left out."""
    model = stage.model
    base = model.parent if isinstance(model, Train) and model.is_adapter else model
    shape, ruler = read_shape(folder_of(base)), ruler_of_folder(folder_of(base))
    if shape is None or ruler.tokenizer is None:
        return {}
    found = [r for r in read_responses(out) if r.stop_reason is not StopReason.TOO_LONG]
    lengths = ruler.lengths([response.prompt for response in found])
    total = 0.0
    for response, length in zip(found, lengths, strict=True):
        new = response.num_tokens
        total += shape.forward_flops(tokens=length, context=length, scored=1)
        total += shape.forward_flops(tokens=new, context=length + new / 2, scored=new)
    return {"flops": total, "prompt_tokens": round(sum(lengths))}
