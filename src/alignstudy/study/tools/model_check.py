"""What a study asks of its models that they can't do, by their files: built without weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import AlignstudyError, first_line
from alignstudy.methods import TrainingSettings
from alignstudy.methods.guards.precision import NO_FP16_ON_CPUS
from alignstudy.methods.loop.arguments import check_target_modules
from alignstudy.models.folder import check_no_code, named_faults, weight_files
from alignstudy.models.load import output_index
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.runtime.device import context_length
from alignstudy.study.settings.checks import Fault
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.study import StudySettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def model_faults(settings: StudySettings, located: Located) -> Iterator[Fault]:
    """Find what the base or a judge can't do: the path of keys, and what is wrong there.

    Models that aren't here yet, or are made by the study, are not looked at.
    """
    base = located.found.get("base")
    if base is not None and "base" not in located.missing:
        yield from _base_faults(settings, base.path)
    for at, judge in enumerate(settings.judges):
        source = located.found.get(f"judge/{judge.name}")
        if source is not None and f"judge/{judge.name}" not in located.missing:
            yield from _judge_faults(at, judge.settings, source.path)


def _base_faults(settings: StudySettings, folder: Path) -> Iterator[Fault]:
    try:
        weight_files(folder)
        model = _built(folder, "AutoModelForCausalLM")
        context = context_length(model.config)
    except AlignstudyError as error:
        yield ("base",), _said(error)
        return
    for label, method in settings.methods.items():
        for key, text in _method_faults(method, model, context):
            yield ("methods", label, *key), text
    new = settings.generation.max_new_tokens
    if new >= context:
        text = f"is {new}, and the base reads {context} tokens in all: no prompt has room"
        yield ("generation", "max_new_tokens"), text


def _method_faults(
    method: TrainingSettings, model: PreTrainedModel, context: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    import torch

    if method.max_length > context:
        yield ("max_length",), f"is {method.max_length}, and the base reads {context} tokens"
    routers = hasattr(model.config.get_text_config(), "output_router_logits")
    if method.precision == "fp16" and not torch.cuda.is_available():
        yield ("precision",), f"fp16 needs a GPU: {NO_FP16_ON_CPUS}; set fp32, or auto"
    if method.router_aux_loss_coef and not routers:
        yield ("router_aux_loss_coef",), "is ignored: the base is no mixture of experts"
    if method.lora is not None:
        try:
            check_target_modules(method.lora, model)
        except AlignstudyError as error:
            yield ("lora", "target_modules"), _said(error)


def _judge_faults(at: int, asked: Any, folder: Path) -> Iterator[Fault]:  # noqa: ANN401
    try:
        weight_files(folder)
        load_tokenizer(folder)
        model = _built(folder, "AutoModelForSequenceClassification")
        if getattr(asked, "read", None) is None:
            output_index(model.config, getattr(asked, "output", None), where=str(folder))
    except AlignstudyError as error:
        yield ("judges", at), _said(error)


def _built(folder: Path, auto: str) -> PreTrainedModel:
    """Build a folder's model on no device.

    Raises:
        InputError: If its configuration describes none.
    """
    import torch
    import transformers

    check_no_code(folder)
    with named_faults(folder), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        found: PreTrainedModel = getattr(transformers, auto).from_config(config)
    return found


def _said(error: AlignstudyError) -> str:
    return "; ".join(filter(None, [first_line(Exception(error.what)), error.why, error.hint]))
