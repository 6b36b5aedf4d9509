"""The model that a training starts from: loaded from its folder, or made from the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError, InputError
from alignstudy.models.folder import named_faults, read_json
from alignstudy.models.load import load_causal_lm, load_classifier, read_config
from alignstudy.models.quantized import is_made_of, packed_weights, share_in_4bit
from alignstudy.models.weight_files import check_weights, weight_files
from alignstudy.records import Weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

HEADS = ("classifier.", "score.", "pooler.")
"""Names of the layers that a classifier may have beyond its pretrained body."""


def has_weights(folder: Path) -> bool:
    """Return whether a model folder holds weights."""
    return any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def initial_causal_lm(
    folder: Path, *, device: str, dropout: str, in_4bit: bool = False
) -> tuple[PreTrainedModel, str]:
    """Return the language model to train, and a note on where its weights are from.

    Weights that the folder doesn't hold are drawn from torch's generator: seed it first.

    Args:
        folder: Hugging Face layout; config.json at least.
        device: Where to put it.
        dropout: "off" or "keep".
        in_4bit: Whether its layers are held in 4 bits.

    Raises:
        InputError: If there are no weights to put into 4 bits.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if has_weights(folder):
        none, weights = 0.0 if dropout == "off" else None, Weights(folder=folder)
        model = load_causal_lm(weights, device=device, dropout=none, in_4bit=in_4bit)
        share = f"{share_in_4bit(model):.0%} of the base's weights" if in_4bit else ""
        return model, f"{share} are held in 4 bits (NF4, double quantization)" if share else ""
    if in_4bit:
        raise InputError(
            f"lora.load_in_4bit: {folder} holds no weights to put into 4 bits",
            hint="train from saved weights, or leave load_in_4bit out",
        )
    config = _read_config(folder, dropout)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.to(device), "weights were drawn from the seed"


def check_is_filed(model: PreTrainedModel, folder: Path, *, device: str) -> None:
    """Refuse a model that isn't what a folder's files hold: it will speak for them as reference.

    What it holds in 4 bits is held against what the files' weights are rounded to.

    Raises:
        GuardError: Naming a weight that differs.
    """
    packed, loaded = packed_weights(model), dict(model.state_dict())
    for name in [*loaded] if packed else ():
        if f"{name.partition('.weight.')[0]}.weight" in packed and name not in packed:
            del loaded[name]  # scales of 4-bit blocks
    for name, weight in _filed(folder, loaded, device=device):
        there = loaded.get(name)
        if name in packed:
            alike = is_made_of(packed[name], weight)
        else:
            alike = there is not None and weight.equal(there)
        if not alike:
            raise GuardError(
                "the reference is not the model that training starts from",
                why=f"{name} is not what the files in {folder} hold",
                hint="train from saved weights (TrainJob.parent); if they are, please report this",
            )


def _filed(
    folder: Path, loaded: Mapping[str, Tensor], *, device: str
) -> Iterator[tuple[str, Tensor]]:
    """Yield a folder's weights: as they lie in its files, where these have the loaded ones' names.

    Else, or where the files are no safetensors, by a second model.
    """
    from safetensors import safe_open

    files = weight_files(folder)
    plain = all(file.suffix == ".safetensors" for file in files)
    found: dict[str, Path] = {}
    for file in files if plain else ():
        with safe_open(file, framework="pt") as held:
            found |= dict.fromkeys(held.offset_keys(), file)
    # One matrix may go by two names, of which the files have one.
    covered = {loaded[name].data_ptr() for name in found if name in loaded}
    if not plain or any(weight.data_ptr() not in covered for weight in loaded.values()):
        yield from load_causal_lm(Weights(folder=folder), device=device).state_dict().items()
        return
    for file in files:
        with safe_open(file, framework="pt", device=device) as held:
            for name in held.offset_keys():
                weight = held.get_tensor(name)
                if name in loaded and weight.is_floating_point():
                    kind = loaded[name].dtype
                    weight = weight.to(kind) if kind.is_floating_point else weight.float()
                yield name, weight


def initial_classifier(folder: Path, *, device: str, dropout: str) -> tuple[PreTrainedModel, str]:
    """Return the one-logit classifier to train, and a note on where its weights are from.

    A trained classifier goes on as it is; a pretrained body (an encoder) gets a head from torch's
    generator: seed it first.

    Raises:
        GuardError: If more than the head would be made up, or a trained classifier has several
            outputs.
        InputError: If transformers has no classifier on such a body.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    if not has_weights(folder):
        config = _read_config(folder, dropout, num_labels=1)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        return model.to(device), "weights were drawn from the seed"
    architectures = read_json(folder / "config.json").get("architectures") or [""]
    if str(architectures[0]).endswith("ForSequenceClassification"):
        none = 0.0 if dropout == "off" else None
        return load_classifier(folder, device=device, dropout=none), ""
    config = _read_config(folder, dropout, num_labels=1)
    check_weights(folder)
    with named_faults(folder), _silent_report():
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
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
    return model.to(device), "a new head was drawn from the seed"


@contextmanager
def _silent_report() -> Iterator[None]:
    """Keep the library from telling the terminal that the head is new: our own note says so."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _read_config(folder: Path, dropout: str, **overrides: Any) -> Any:  # noqa: ANN401
    """Read a configuration, with all its dropout probabilities 0 where dropout is off."""
    config = read_config(folder, **overrides)
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
