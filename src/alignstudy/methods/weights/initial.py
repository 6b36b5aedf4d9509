"""The model that a training starts from: loaded from its folder, or made from the seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError, InputError
from alignstudy.models.load import load_causal_lm, load_classifier
from alignstudy.records import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEADS = ("classifier.", "score.", "pooler.")
"""Names of the layers that a classifier may have beyond its pretrained body."""


def has_weights(folder: Path) -> bool:
    """Return whether a model folder holds weights."""
    return any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def initial_causal_lm(folder: Path, *, device: str, dropout: str) -> tuple[PreTrainedModel, str]:
    """Return the language model to train, and a note on where its weights are from.

    Weights that the folder doesn't hold are drawn from torch's generator: seed it first.

    Args:
        folder: Hugging Face layout; config.json at least.
        device: Where to put it.
        dropout: "off" or "keep".
    """
    if has_weights(folder):
        model = load_causal_lm(
            Weights(folder=folder), device=device, dropout=0.0 if dropout == "off" else None
        )
        return model, ""
    from transformers import AutoModelForCausalLM

    return _from_config(AutoModelForCausalLM, folder, dropout=dropout).to(device), (
        "weights were drawn from the seed"
    )


def initial_classifier(folder: Path, *, device: str, dropout: str) -> tuple[PreTrainedModel, str]:
    """Return the one-logit classifier to train, and a note on where its weights are from.

    A trained classifier goes on as it is; a pretrained body (an encoder) gets a head from torch's
    generator: seed it first.

    Raises:
        GuardError: If more than the head would be made up.
        InputError: If a trained classifier has several outputs.
    """
    from transformers import AutoModelForSequenceClassification

    if not has_weights(folder):
        model = _from_config(
            AutoModelForSequenceClassification, folder, dropout=dropout, num_labels=1
        )
        return model.to(device), "weights were drawn from the seed"
    if _is_classifier(folder):
        model = load_classifier(folder, device=device)
        _switch_dropout(model, dropout)
        return model, ""
    return _with_new_head(folder, dropout=dropout).to(device), "a new head was drawn from the seed"


def _is_classifier(folder: Path) -> bool:
    architectures = _config(folder).get("architectures") or [""]
    return str(architectures[0]).endswith("ForSequenceClassification")


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("auto_map"):
        raise GuardError(
            f"{folder}/config.json asks for code of its own (auto_map)",
            why="alignstudy never runs code that comes with a model",
            hint="use an architecture that transformers knows",
        )
    return config


def _read_config(folder: Path, dropout: str, overrides: dict[str, Any]) -> Any:  # noqa: ANN401
    """Read a configuration, with all its dropout probabilities 0 where dropout is off."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **overrides)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}/config.json names no model that can be built", why=str(error).split("\n")[0]
        ) from error
    if dropout == "off":
        for name in dropout_names(config.to_dict()):
            setattr(config, name, 0.0)
    return config


def dropout_names(config: dict[str, Any]) -> list[str]:
    """List the dropout probabilities of a configuration."""
    return [
        name
        for name, value in config.items()
        if ("dropout" in name or name.endswith(("_pdrop", "layerdrop")))
        and isinstance(value, int | float)
    ]


def is_noisy(config: Any) -> bool:  # noqa: ANN401 - a PreTrainedConfig
    """Return whether a language model drops units at random when it is trained."""
    values = config.to_dict()
    names = [name for name in dropout_names(values) if not name.startswith("classifier")]
    return any(values[name] > 0 for name in names)


def _from_config(auto: Any, folder: Path, *, dropout: str, **overrides: Any) -> Any:  # noqa: ANN401
    """Build a model with fresh float32 weights."""
    import torch

    _config(folder)
    return auto.from_config(_read_config(folder, dropout, overrides), dtype=torch.float32)


def _with_new_head(folder: Path, *, dropout: str) -> Any:  # noqa: ANN401
    import torch
    from transformers import AutoModelForSequenceClassification

    _config(folder)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder,
        config=_read_config(folder, dropout, {"num_labels": 1}),
        dtype=torch.float32,
        local_files_only=True,
        weights_only=True,
        output_loading_info=True,
    )
    made_up = [name for name in report["missing_keys"] if not name.startswith(HEADS)]
    if made_up:
        raise GuardError(
            f"the weights in {folder} are no body for a {type(model).__name__}",
            why=f"{len(made_up)} weights beyond the head are missing: {', '.join(made_up[:3])}",
            hint="use a checkpoint whose config.json belongs to it",
        )
    return model


def _switch_dropout(model: Any, dropout: str) -> None:  # noqa: ANN401
    """Switch off the dropout modules of a loaded classifier."""
    from torch import nn

    if dropout == "keep":
        return
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
