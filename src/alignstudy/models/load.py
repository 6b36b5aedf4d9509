"""Models in memory: language models, adapters on their base, classifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError, InputError
from alignstudy.models.adapters import apply_adapter, check_adapter_base, is_of_4bit_base
from alignstudy.models.folder import ADAPTER_CONFIG, named_faults, some
from alignstudy.models.inspection import check_known, inspect_folder
from alignstudy.models.quantized import check_quantizable, four_bit_config, prepare_four_bit
from alignstudy.models.weight_files import check_room, check_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from alignstudy.records import Weights

DTYPES = ("float32", "bfloat16", "float16", "float64")
_DROPOUT_NAME = re.compile(r"dropout|_pdrop$")


def load_causal_lm(
    weights: Weights,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    dropout: float | None = None,
    in_4bit: bool = False,
) -> PreTrainedModel:
    """Load a language model in evaluation mode; an adapter is applied to its base, not merged.

    An adapter that was trained on a base in 4 bits gets that, whatever is asked.

    Args:
        weights: Full weights, or an adapter with its base.
        dtype: The precision in memory, whatever the file's is.
        device: Where to put it; see `pick_device`.
        dropout: The probability for every dropout of the base, set before the model is built, so
            that functional dropout obeys too (0 also switches layer dropping off); None keeps the
            configuration's.
        in_4bit: Whether its layers are held in 4 bits (NF4); see `quantized`.

    Raises:
        InputError: If a file is missing, the architecture unknown or no language model, or an
            adapter lacks its base.
        EnvironmentFault: If bitsandbytes is needed, and isn't installed.
        GuardError: If weights are missing or of another shape, if the adapter was trained on
            another base, or if the folder would run code.
        DamagedArtefactError: If a file is broken.
    """
    from transformers import AutoModelForCausalLM

    folder = weights.folder if weights.base is None else weights.base
    if weights.base is not None:
        check_adapter_base(weights.folder, weights.base)
        in_4bit = is_of_4bit_base(weights.folder)
    config = read_config(folder, dropout)
    check_writes(config, folder)
    packed_on = device if in_4bit else None
    model = _load(AutoModelForCausalLM, folder, config=config, dtype=dtype, packed_on=packed_on)
    if weights.base is not None:
        model = apply_adapter(model, weights.folder)
    return model.to(device).eval()


def load_plain_lm(
    weights: Weights, *, device: str, dtype: str = "float32", in_4bit: bool = False
) -> PreTrainedModel:
    """Load a language model without PEFT's wrapper, whose `generate` rewrites settings.

    Of an adapter it is the model inside, which has the adapter.
    """
    model = load_causal_lm(weights, dtype=dtype, device=device, in_4bit=in_4bit)
    return model.get_base_model() if weights.base is not None else model


def load_classifier(
    folder: Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    output: int | str | None = None,
    dropout: float | None = None,
) -> PreTrainedModel:
    """Load a sequence classifier in evaluation mode.

    Args:
        folder: Full weights, head included.
        dtype: The precision in memory, whatever the file's is.
        device: Where to put it; see `pick_device`.
        output: Which of several outputs is meant: index or label; see `output_index`.
        dropout: The probability for every dropout; None keeps the configuration's.

    Raises:
        InputError: If a file is missing or the architecture is unknown.
        GuardError: If the head would be newly initialised, if there are several outputs and none
            is named, or if the folder would run code.
        DamagedArtefactError: If a file is broken.
    """
    from transformers import AutoModelForSequenceClassification

    config = read_config(folder, dropout)
    output_index(config, output, where=str(folder))
    model = _load(AutoModelForSequenceClassification, folder, config=config, dtype=dtype)
    return model.to(device).eval()


def output_index(config: PretrainedConfig, output: int | str | None, *, where: str = "") -> int:
    """Find the column of a classifier's logits that is the score.

    Raises:
        GuardError: If there are several and none is named, or the named one doesn't exist.
    """
    labels = [str(config.id2label.get(i, i)) for i in range(config.num_labels)]
    if output is None and len(labels) == 1:
        return 0
    if isinstance(output, str) and labels.count(output) == 1:
        return labels.index(output)
    if isinstance(output, int) and not isinstance(output, bool) and 0 <= output < len(labels):
        return output
    asked = "and none is named" if output is None else f"and none is '{output}'"
    listed = ", ".join(f"{index}: {label}" for index, label in enumerate(labels))
    raise GuardError(
        f"the classifier {where or config.name_or_path} has {len(labels)} outputs {asked}",
        why=f"its outputs are {listed}",
        hint="name the output that is the score, by index or label (`output:`)",
    )


def check_writes(config: PretrainedConfig, folder: Path) -> None:
    """Refuse an encoder or a classifier: its body would load, and write nonsense.

    Raises:
        InputError: If the folder's architecture is no language model that writes left to right.
    """
    from transformers.models.auto import modeling_auto as known

    named = config.architectures or [config.model_type]
    writes = {*known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), config.model_type}
    reads_both_ways = config.model_type in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not writes & {*named} or (reads_both_ways and not getattr(config, "is_decoder", False)):
        raise InputError(
            f"{folder} holds a {named[0]}, which is no language model",
            why="an encoder or a classifier can't continue a text",
            hint="name a causal language model (its config.json says ...ForCausalLM)",
        )


def read_config(
    folder: Path, dropout: float | None = None, **overrides: object
) -> PretrainedConfig:
    """Read a folder's configuration, with its dropouts and whatever else set.

    Raises:
        InputError: If there is none, or it describes no model.
        GuardError: If it asks for code, or for what isn't supported.
        DamagedArtefactError: If it can't be read.
    """
    from transformers import AutoConfig

    check_known(folder, inspect_folder(folder))
    with named_faults(folder):
        config = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, **overrides
        )
    if dropout is None:
        return config
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout} is no probability", hint="give a number in [0, 1)")
    for name, value in config.to_dict().items():
        if _DROPOUT_NAME.search(name) and isinstance(value, int | float):
            setattr(config, name, dropout)
    if dropout == 0 and getattr(config, "layerdrop", None):
        config.layerdrop = 0.0
    return config


def _load(
    auto: Any,  # noqa: ANN401 - an Auto class
    folder: Path,
    *,
    config: PretrainedConfig,
    dtype: str,
    packed_on: str | None = None,
) -> PreTrainedModel:
    """Load full weights; refuse if anything of the model isn't in the files.

    Args:
        auto: What builds the model.
        folder: Holds the weights.
        config: The folder's.
        dtype: The precision in memory.
        packed_on: The device on which layers are put into 4 bits; None: they are not.
    """
    import torch

    if dtype not in DTYPES:
        raise InputError(f"unknown dtype '{dtype}'", hint=f"use one of {', '.join(DTYPES)}")
    if (folder / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"{folder} is an adapter, not a whole model", hint="name the base that it belongs to"
        )
    files, pattern = check_weights(folder), built(folder, auto, config)
    check_room(folder, pattern)
    packing: dict[str, Any] = {}
    if packed_on is not None:
        check_quantizable(pattern)
        packing = {"quantization_config": four_bit_config(), "device_map": {"": packed_on}}
    with named_faults(folder), no_loading_bar():
        model, report = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32 if packing else getattr(torch, dtype),
            **packing,
            use_safetensors=files[0].suffix == ".safetensors",
            weights_only=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _refuse_other_weights(folder, model, report)
    # Tensors mapped from a file lie as its header leaves them, and matrix kernels round by that:
    # the same weights in two files would give results that differ in the last bit.
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()
    if packing:
        prepare_four_bit(model, getattr(torch, dtype))
    return model


def _refuse_other_weights(
    folder: Path, model: PreTrainedModel, report: Mapping[str, Sequence[Any]]
) -> None:
    """Refuse weights that were made up, and layers that the configuration leaves out.

    Raises:
        GuardError: Naming some.
    """
    mismatched = [str(item[0]) for item in report["mismatched_keys"]]
    # Named like the model's own but for a number: of layers that config.json doesn't build.
    own = {_numberless(name) for name in model.state_dict()}
    unexpected = report["unexpected_keys"]
    surplus = [k for k in unexpected if any(name.endswith(_numberless(k)) for name in own)]
    faults = [
        ("are not in the files", report["missing_keys"]),
        ("have another shape in the files", mismatched),
        ("are in the files but beyond what config.json builds", surplus),
        ("could not be converted", report.get("conversion_errors") or ()),
        ("gave errors", report.get("error_msgs") or ()),
    ]
    found = [f"{some(names)} {fault}" for fault, names in faults if names]
    if found:
        raise GuardError(
            f"the weights in {folder} don't make a {type(model).__name__}",
            why="; ".join(found),
            hint="use a checkpoint of this class (a reward model has a trained head), and the"
            " config.json that belongs to it",
        )


def built(folder: Path, auto: Any, config: PretrainedConfig) -> PreTrainedModel:  # noqa: ANN401
    """Build the model that a configuration describes, on no device.

    Raises:
        InputError: If it describes none.
    """
    import torch

    with named_faults(folder), torch.device("meta"):
        model: PreTrainedModel = auto.from_config(deepcopy(config))
    return model


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "#", name)


@contextmanager
def no_loading_bar() -> Iterator[None]:
    """Keep the library's own progress bar off the terminal: the caller has one."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
