"""Adapters: held against rules, and against the base that they were trained on, then applied."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.errors import GuardError, InputError
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import (
    ADAPTER_CONFIG,
    ADAPTER_RECORD,
    OF_VALUES,
    clipped,
    named_faults,
    read_config_json,
    read_json,
    some,
)
from alignstudy.models.inspection import CODE, check_keys
from alignstudy.models.quantized import LOAD_IN_4BIT, import_before_others
from alignstudy.models.weight_files import check_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PLAIN_NAME = re.compile(r"[\w.\-]{1,200}")
_NAMES = ("target_modules", "modules_to_save", "exclude_modules", "rank_pattern", "alpha_pattern")
_STARTS = (True, False, None, "gaussian", "orthogonal")
_SWITCHED_OFF = frozenset(
    {
        "alora_invocation_tokens",
        "arrow_config",
        "corda_config",
        "eva_config",
        "kasa_config",
        "layer_replication",
        "layers_pattern",
        "loftq_config",
        "lora_ga_config",
        "megatron_config",
        "monteclora_config",
        "target_parameters",
        "trainable_token_indices",
        "use_bdlora",
        "use_qalora",
        "velora_config",
    }
)
"""Of LoRA: ways that load, run or build more than two matrices beside a layer."""


def _inspect(folder: Path) -> None:
    """Hold an adapter's configuration against what is applied here: plain LoRA.

    Raises:
        InputError: If it is another kind of adapter, or names what it adapts by expressions.
        GuardError: If it asks for code.
    """
    file = folder / ADAPTER_CONFIG
    asked = read_config_json(file)
    check_keys(file, asked)
    mapped = asked.get("auto_mapping") or {}
    library = mapped.get("parent_library", "transformers") if isinstance(mapped, dict) else mapped
    if str(library).split(".")[0] != "transformers":
        raise GuardError(
            f"{file} asks for code of its own (auto_mapping)", why=CODE, hint="remove the key"
        )
    faults = [key for key in sorted(_SWITCHED_OFF) if asked.get(key)]
    faults += [] if asked.get("peft_type") == "LORA" else ["peft_type"]
    faults += [] if asked.get("init_lora_weights", True) in _STARTS else ["init_lora_weights"]
    faults += [key for key in _NAMES if not _names_plainly(asked.get(key), key)]
    if faults:
        raise InputError(
            f"the adapter {folder} is no plain LoRA: {', '.join(faults)} of its {ADAPTER_CONFIG}",
            why="two matrices beside each of the layers that it names are applied, no more",
            hint="merge it into its base (PEFT's merge_and_unload), and name that folder",
        )


def _names_plainly(value: object, key: str) -> bool:
    """Return whether layers are named, not described by an expression (which may never end)."""
    kind = dict if key.endswith("_pattern") else list
    return value is None or (
        isinstance(value, kind)
        and all(isinstance(each, str) and _PLAIN_NAME.fullmatch(each) for each in value)
    )


def check_adapter_base(adapter: Path, base: Path) -> None:
    """Refuse an adapter whose recorded base isn't the one it is to be applied to."""
    _inspect(adapter)
    if not (adapter / ADAPTER_RECORD).is_file():
        raise GuardError(
            f"the adapter {adapter} doesn't record which base it was trained on",
            why=f"there is no {ADAPTER_RECORD} next to adapter_config.json",
            hint="train it with alignstudy, or merge it into its base and use the full weights",
        )
    record = read_json(adapter / ADAPTER_RECORD)
    if record.get("base_weights_sha256") != (found := weights_digest(base)):
        raise GuardError(
            f"the adapter {adapter} was trained on other weights than {base}",
            why=f"it records {record.get('base', 'a base')} with sha256"
            f" {record.get('base_weights_sha256')}; these weights have {found}",
            hint="apply the adapter to the base it was trained on, or train it again",
        )


def is_of_4bit_base(adapter: Path) -> bool:
    """Return whether an adapter records that its base was held in 4 bits when it was trained."""
    return read_json(adapter / ADAPTER_RECORD).get(LOAD_IN_4BIT) is True


def apply_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Apply an adapter to its base; every weight of it must come from the file."""
    import_before_others()
    from peft import PeftModel, get_peft_model_state_dict
    from peft.utils import load_peft_weights

    check_weights(folder)
    with named_faults(folder):
        stored = load_peft_weights(str(folder), device="cpu")
    _check_ranks(folder, max((max(each.shape, default=0) for each in stored.values()), default=0))
    try:
        with warnings.catch_warnings():  # PEFT asks by a name that only its developers can change
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = PeftModel.from_pretrained(model, folder, local_files_only=True)
    except (*OF_VALUES, RuntimeError, OSError) as error:
        raise GuardError(
            f"the adapter {folder} doesn't fit its base",
            why=clipped(error),
            hint="apply it to the base it was trained on",
        ) from error
    wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if wanted != set(stored):
        raise GuardError(
            f"the adapter {folder} doesn't fit its base",
            why=f"{some(wanted ^ set(stored))} are in only one of adapter file and model",
            hint="apply it to the base it was trained on",
        )
    return adapted


def _check_ranks(folder: Path, widest: int) -> None:
    """Refuse ranks beyond what the file's matrices have: they would be allocated."""
    asked = read_json(folder / ADAPTER_CONFIG)
    ranks = [asked.get("r", 8), *(asked.get("rank_pattern") or {}).values()]
    if not all(type(rank) is int and 0 < rank <= widest for rank in ranks):
        raise GuardError(
            f"the adapter {folder} asks for ranks that its weights don't have",
            why=f"no matrix of its file is wider than {widest}",
            hint="use the adapter_config.json that belongs to the weights",
        )
