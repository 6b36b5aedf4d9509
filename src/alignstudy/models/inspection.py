"""What a model folder may ask for: held against rules before any library reads the folder.

It may come from anyone. Nothing of it runs, nothing is fetched for it, and nothing is allocated by
numbers that no model has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignstudy.errors import GuardError, InputError
from alignstudy.models.folder import NEEDED, inside, read_config_json

IMPLEMENTATIONS = frozenset({"eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm"})
"""Ways to compute that lie in torch and transformers. Others may be fetched: as code."""

CODE = "alignstudy never runs code that comes with a model"
_REMOVE = "use a model whose architecture transformers knows, or remove the key if the folder's is"
_KEYS = {
    "auto_map": (CODE, _REMOVE),
    "custom_generate": (CODE, _REMOVE),
    "use_kernels": (CODE, _REMOVE),
    "kernel_config": (CODE, _REMOVE),
    "quantization_config": (
        "quantised weights are computed by code of other packages, some of it fetched",
        "name the model's unquantised folder",
    ),
    "compression_config": (
        "compressed weights are computed by code of other packages",
        "name the model's uncompressed folder",
    ),
    "transformers_weights": (
        "weights are read from the files that every model folder has, which are hashed",
        "name the file model.safetensors, and remove the key",
    ),
}
"""Keys that ask for more than values, wherever they stand: why not, and what to do."""

_IMPLEMENTATION = re.compile(r"(attn|attention|experts)_implementation(_internal)?$")

_COUNTS = re.compile(r"layers?$|^num_hidden_groups$|^inner_group_num$")
_SIZES = re.compile(r"^(num_|n_|d_)|_(size|dim|width|inner|heads|experts|labels|rank)$")
MOST_LAYERS, MOST_EXPERTS, MOST_OF_A_SIZE = 2048, 1 << 17, 1 << 24
"""Layers; layers times experts; rows or columns of a matrix."""


def inspect_folder(folder: Path) -> dict[str, Any]:
    """Hold a model folder against the rules; return its `config.json`.

    Raises:
        InputError: If `config.json` is missing, or names sizes that no model has.
        GuardError: If the folder asks for code, for other files, or for quantised weights.
        DamagedArtefactError: If a configuration can't be read.
    """
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_symlink():
            inside(folder, entry.name)
    config = read_config_json(folder / "config.json")
    check_keys(folder / "config.json", config)
    _check_sizes(folder / "config.json", config)
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise InputError(
            f"{folder}/config.json names no architectures (architectures: {str(named)[:40]})",
            hint="list the model's class there, or remove the key",
        )
    for name in ("tokenizer_config.json", "generation_config.json", "processor_config.json"):
        if (folder / name).is_file():
            check_keys(folder / name, read_config_json(folder / name))
    return config


def check_known(folder: Path, config: dict[str, Any]) -> None:
    """Refuse an architecture that transformers doesn't know.

    Raises:
        InputError: If it is none; what names none is left to the library.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    named = config.get("model_type")
    if named is not None and not (isinstance(named, str) and named in CONFIG_MAPPING_NAMES):
        raise InputError(
            f"nothing can be loaded from {folder}",
            why=f"transformers knows no architecture {str(named)[:60]!r} (model_type)",
            hint=NEEDED,
        )


def pairs_in(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all keys with their values, nested ones too."""
    layer: list[Any] = [values]
    while layer:
        each = layer.pop()
        if isinstance(each, dict):
            yield from each.items()
        layer += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()


def check_keys(file: Path, values: dict[str, Any]) -> None:
    """Refuse keys that ask for more than values.

    Raises:
        GuardError: If there is one.
    """
    for key, value in pairs_in(values):
        if key in _KEYS and value:
            why, hint = _KEYS[key]
            named = value.get("quant_method") if isinstance(value, dict) else None
            kind = f": {str(named)[:60]}" if named else ""
            what = "asks for code of its own" if why is CODE else "asks for what isn't supported"
            raise GuardError(f"{file} {what} ({key}{kind})", why=why, hint=hint)
        if _IMPLEMENTATION.search(key):
            _check_implementation(file, key, value)


def _check_implementation(file: Path, key: str, value: object) -> None:
    asked = value.values() if isinstance(value, dict) else [value]
    for each in asked:
        if isinstance(each, dict):
            _check_implementation(file, key, each)
        elif each is not None and not (isinstance(each, str) and each in IMPLEMENTATIONS):
            raise GuardError(
                f"{file} asks for code of its own ({key}: {str(each)[:100]!r})",
                why=f"only {', '.join(sorted(IMPLEMENTATIONS))} are sure to be on this machine;"
                " others may be fetched, and run",
                hint=f"remove {key}: the architecture's own way computes the same",
            )


def _check_sizes(file: Path, config: dict[str, Any]) -> None:
    """Refuse numbers that no model has: a library would allocate, or build, by them.

    Raises:
        InputError: If there is one.
    """
    layers, experts = 1, 1
    for key, value in pairs_in(config):
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if _COUNTS.search(key):
                _refuse_beyond(file, key, number, MOST_LAYERS)
                layers = max(layers, int(number))
            elif _SIZES.search(key):
                _refuse_beyond(file, key, number, MOST_OF_A_SIZE)
                experts = max(experts, int(number)) if key.endswith("experts") else experts
    _refuse_beyond(file, "layers times experts", layers * experts, MOST_EXPERTS)


def _refuse_beyond(file: Path, key: str, number: float, most: int) -> None:
    if not -1 <= number <= most:
        raise InputError(
            f"{file} names a size that no model has ({key}: {str(number)[:40]})",
            why=f"at most {most:,} is built",
            hint="correct it, or fetch the model folder again",
        )
