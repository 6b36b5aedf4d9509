"""How a training's rows are written: by its model's tokenizer, and a template if it uses one."""

from __future__ import annotations

from pathlib import Path

from alignstudy.methods import method_of
from alignstudy.methods.base import TrainingSettings, TrainJob
from alignstudy.models.rendering import Rendering, load_rendering, rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import GuardOutcome


def rendering_for(folder: Path, settings: TrainingSettings, template: str) -> Rendering:
    """Load the tokenizer of a model's folder as a training there uses it, and its template.

    Args:
        folder: Of the model.
        settings: Of the training.
        template: How prompts are written, if the training writes any; see `template_of`.
    """
    if method_of(settings).writes_prompts:
        return load_rendering(folder, template)
    return rendering_of(load_tokenizer(folder), "none")


def rendering_guards(job: TrainJob, rendering: Rendering) -> tuple[GuardOutcome, ...]:
    """Return what prompts are written by, and what ends a response; nothing for a classifier.

    Raises:
        GuardError: If a language model's tokenizer can't mark an end, or marks it unasked.
    """
    classifier = method_of(job.settings).trains == "classifier"
    return () if classifier else (rendering.outcome(),)
