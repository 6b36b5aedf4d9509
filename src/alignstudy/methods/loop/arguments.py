"""From our settings to the trainers' arguments, none left to a default that versions change."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from alignstudy.errors import InputError, UnknownNameError
from alignstudy.methods import method_of
from alignstudy.methods.base import LoRASettings, TrainingSettings, TrainJob

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_device(device: str) -> None:
    """Refuse a device that the trainer would not use.

    Raises:
        InputError: If it is neither the CPU nor the first GPU.
    """
    if device not in {"cpu", "cuda", "cuda:0"}:
        raise InputError(
            f"training can't be pinned to {device}",
            why="the trainer takes the first GPU that it sees",
            hint=f"set CUDA_VISIBLE_DEVICES={device.rpartition(':')[2]} and use device: cuda",
        )


def planned_steps(settings: TrainingSettings, num_rows: int) -> int:
    """Return the number of optimizer steps on so many rows, as the trainer counts them."""
    if settings.max_steps is not None:
        return settings.max_steps
    return ceil(settings.num_train_epochs * settings.steps_an_epoch(num_rows))


def checkpoint_interval(settings: TrainingSettings, num_steps: int) -> int:
    """Return the steps between checkpoints: as set, else a tenth of all, 500 at most."""
    return settings.save_steps or max(1, min(500, ceil(num_steps / 10)))


MOST_PROBES = 9
"""Measurements of the probe between the first and the last: a curve of eleven points is smooth."""
PROBE_SHARE = 0.05
"""Of training's own work that the probe may take, start and end included where they fit in."""


def probe_steps(settings: TrainingSettings, num_steps: int, pairs: int) -> tuple[int, ...]:
    """Return the steps after which the probe is measured; the last is one, the start none of them.

    In between there are as many as the probe's share of the work allows, evenly spread; counted in
    forward passes of a pair, so that no clock decides. A loss that falls for ever is looked at as
    often as can be.

    Args:
        settings: Of the training.
        num_steps: Of the training.
        pairs: How many the probe has.
    """
    a_pair = 3 if settings.lora is None else 2  # forward and backward, as forward passes
    allowed = PROBE_SHARE * a_pair * num_steps * settings.effective_batch_size
    between = max(0, min(MOST_PROBES, int(allowed // max(1, pairs)) - 2))
    if method_of(settings).objective.unbounded:
        between = MOST_PROBES
    steps = {round(num_steps * part / (between + 1)) for part in range(1, between + 2)}
    return tuple(sorted(steps - {0}))


def training_arguments(job: TrainJob, *, num_rows: int, precision: str = "fp32") -> dict[str, Any]:
    """Return what the trainer's configuration is to be made with.

    The trainer is given an update's rows as one batch, which our step cuts into micro-batches;
    packed rows, which it doesn't cut, as the settings say.
    `logging_steps` is 1: our metrics file thins the lines itself, so that a run that was
    interrupted between two logged steps has the same file as one that wasn't.
    """
    settings, method = job.settings, method_of(job.settings)
    num_steps = planned_steps(settings, num_rows)
    sizes = {
        "per_device_train_batch_size": settings.effective_batch_size,
        "gradient_accumulation_steps": 1,
    }
    if method.packs:
        sizes = {name: getattr(settings, name) for name in sizes}
    own = {"packing": method.packs, "router_aux_loss_coef": settings.router_aux_loss_coef}
    return {
        "output_dir": str(job.work),
        "num_train_epochs": settings.num_train_epochs,
        "max_steps": num_steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "warmup_steps": settings.warmup_steps,
        "optim": settings.optim,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "max_length": settings.max_length,
        "save_strategy": "steps",
        "save_steps": checkpoint_interval(settings, num_steps),
        "seed": job.seed,
        "data_seed": job.seed,
        "use_cpu": job.device == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        **sizes,
        **_FIXED,
        **(_CLASSIFIER if method.trains == "classifier" else _LANGUAGE_MODEL | own),
    }


_LANGUAGE_MODEL: dict[str, Any] = {"packing_strategy": "bfd", "padding_free": False}
_CLASSIFIER: dict[str, Any] = {"disable_dropout": False}

_FIXED: dict[str, Any] = {
    "tf32": False,
    "gradient_checkpointing": False,
    "logging_strategy": "steps",
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
    "eval_strategy": "no",
    "save_total_limit": None,
    "report_to": "none",
    "push_to_hub": False,
    "disable_tqdm": True,
    "log_level": "error",
    "dataloader_num_workers": 0,
    "dataloader_drop_last": False,
    "remove_unused_columns": False,
    "auto_find_batch_size": False,
}


def check_target_modules(lora: LoRASettings, model: PreTrainedModel) -> None:
    """Refuse LoRA targets that no layer of the model has; PEFT would leave them out silently.

    As PEFT matches them, a target is a layer's full name or its end after a dot.

    Raises:
        UnknownNameError: Offering the nearest name.
        InputError: If it is the model's head, or an embedding.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    adaptable = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D)
    layers = [name for name, layer in model.named_modules() if isinstance(layer, adaptable)]
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    at_ends = [n for n, layer in model.named_modules() if any(layer is end for end in ends)]
    for target in lora.target_modules:
        if any(name == target or name.endswith(f".{target}") for name in at_ends):
            raise InputError(
                f"lora.target_modules: '{target}' is the model's head or its embedding",
                why="their weights are often one matrix, and are read directly where texts are"
                " scored: an adapter on them would be lost",
                hint="name layers in between, such as q_proj and v_proj",
            )
        if not any(layer == target or layer.endswith(f".{target}") for layer in layers):
            known = {layer.rpartition(".")[2] for layer in layers}
            raise UnknownNameError("layer", target, known, where="lora.target_modules")


def stores_transposed(lora: LoRASettings, model: PreTrainedModel) -> bool:
    """Return whether the adapted layers keep their weights transposed, as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return any(
        isinstance(layer, Conv1D) and name.rpartition(".")[2] in lora.target_modules
        for name, layer in model.named_modules()
    )
