"""What a study asks of its models that they can't do, by their files: built without weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import AlignstudyError
from alignstudy.methods import LoRASettings, TrainingSettings
from alignstudy.methods.guards.precision import NO_FP16_ON_CPUS
from alignstudy.methods.loop.arguments import check_target_modules
from alignstudy.methods.rounds.round import rounds_of
from alignstudy.models.adapters import check_adapter_base
from alignstudy.models.folder import weights_in
from alignstudy.models.load import (
    built,
    check_writes,
    output_index,
    read_config,
)
from alignstudy.models.quantized import check_quantizable
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.models.weight_files import check_room, check_weights, weight_files
from alignstudy.runtime.device import context_length
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.recipe_checks import Fault
from alignstudy.study.settings.recipes import existing
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.template import rendering_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def model_faults(settings: StudySettings, located: Located, template: str) -> Iterator[Fault]:
    """Find what a model or a judge can't do: the path of keys, and what is wrong there.

    Models that aren't here yet, or are made by the study, are not looked at.

    Args:
        settings: The study.
        located: Its sources.
        template: How its prompts are written.
    """
    base = located.found.get("base")
    if base is not None and "base" not in located.missing:
        yield from _base_faults(settings, base.path)
    for name in existing(settings.recipes):
        source = located.found.get(f"recipe/{name}")
        if source is not None and f"recipe/{name}" not in located.missing:
            path, new = ("recipes", name, "from"), settings.generation.max_new_tokens
            yield from ((path, text) for text in _existing_faults(source.path, template, new))
    for at, judge in enumerate(settings.judges):
        source = located.found.get(f"judge/{judge.name}")
        if source is not None and f"judge/{judge.name}" not in located.missing:
            yield from _judge_faults(at, judge.settings, source.path)


def _base_faults(settings: StudySettings, folder: Path) -> Iterator[Fault]:
    try:
        model, context = _language_model(folder)
    except AlignstudyError as error:
        yield ("base",), error.in_a_line
        return
    trainings = {k: v for k, v in settings.methods.items() if isinstance(v, TrainingSettings)}
    for label, method in trainings.items():
        for key, text in _method_faults(method, model, context):
            yield ("methods", label, *key), text
    new = settings.generation.max_new_tokens
    if new >= context:
        text = f"is {new}, and the base reads {context} tokens in all: no prompt has room"
        yield ("generation", "max_new_tokens"), text


def _existing_faults(folder: Path, template: str, new: int) -> Iterator[str]:
    """Find why a model that isn't trained here couldn't answer."""
    try:
        _, context = _language_model(folder)
        rendering_in(folder, template).outcome()
    except AlignstudyError as error:
        yield error.in_a_line
        return
    if new >= context:
        text = f"the model reads {context} tokens in all, and generation.max_new_tokens is {new}"
        yield f"{text}: no prompt has room"


def _language_model(folder: Path) -> tuple[PreTrainedModel, int]:
    """Build a language model, or an adapter's base, on no device; return it and its context."""
    weight_files(folder)
    weights = weights_in(folder)
    if weights.base is not None:
        check_adapter_base(folder, weights.base)
    for each in filter(None, (folder, weights.base)):
        check_weights(each)
    folder = weights.base or folder
    model = _built(folder, "AutoModelForCausalLM")
    check_writes(model.config, folder)
    return model, context_length(model.config)


def _method_faults(
    method: TrainingSettings, model: PreTrainedModel, context: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    import torch

    if method.max_length > context:
        yield ("max_length",), f"is {method.max_length}, and the base reads {context} tokens"
    if any(one.sampling.max_new_tokens >= context for one in rounds_of(method) if one.rule):
        yield (), f"sampling.max_new_tokens leaves no room for a prompt: the base reads {context}"
    routers = hasattr(model.config.get_text_config(), "output_router_logits")
    if method.precision == "fp16" and not torch.cuda.is_available():
        yield ("precision",), f"fp16 needs a GPU: {NO_FP16_ON_CPUS}; set fp32, or auto"
    if method.router_aux_loss_coef and not routers:
        yield ("router_aux_loss_coef",), "is ignored: the base is no mixture of experts"
    if method.lora is not None:
        yield from _adapter_faults(method.lora, model)


def _adapter_faults(
    lora: LoRASettings, model: PreTrainedModel
) -> Iterator[tuple[tuple[str, ...], str]]:
    try:
        check_target_modules(lora, model)
    except AlignstudyError as error:
        yield ("lora", "target_modules"), error.in_a_line
    if lora.load_in_4bit:
        try:
            check_quantizable(model)
        except AlignstudyError as error:
            yield ("lora", "load_in_4bit"), error.in_a_line


def _judge_faults(at: int, asked: Any, folder: Path) -> Iterator[Fault]:  # noqa: ANN401
    try:
        check_weights(folder)
        load_tokenizer(folder)
        model = _built(folder, "AutoModelForSequenceClassification")
        if getattr(asked, "read", None) is None:
            output_index(model.config, getattr(asked, "output", None), where=str(folder))
    except AlignstudyError as error:
        yield ("judges", at), error.in_a_line


def _built(folder: Path, auto: str) -> PreTrainedModel:
    """Build a folder's model on no device.

    Raises:
        InputError: If its configuration describes none.
    """
    import transformers

    model = built(folder, getattr(transformers, auto), read_config(folder))
    check_room(folder, model)
    return model
