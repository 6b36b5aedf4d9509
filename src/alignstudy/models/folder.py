"""What a model folder must hold, and what its faults are called."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from alignstudy.errors import (
    AlignstudyError,
    DamagedArtefactError,
    EnvironmentFault,
    GuardError,
    InputError,
    first_line,
)
from alignstudy.records import Weights

ADAPTER_RECORD = "alignstudy.json"
"""Lies next to `adapter_config.json`: {"base_weights_sha256": ..., "base": name}."""

ADAPTER_CONFIG = "adapter_config.json"

NEEDED = (
    "a model folder holds config.json, weights (model.safetensors or pytorch_model.bin) and a"
    " tokenizer (tokenizer.json, or vocab.json with merges.txt, or spm.model)"
)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: If there is no such file.
        DamagedArtefactError: If it is no JSON object.
    """
    if not file.is_file():
        raise InputError(f"{file.parent} has no {file.name}", hint=NEEDED)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedArtefactError(
            f"{file} is not JSON", why=str(error), hint="fetch or write the model folder again"
        ) from error
    if not isinstance(values, dict):
        raise DamagedArtefactError(f"{file} is not a JSON object", hint="fetch the folder again")
    return values


def check_no_code(folder: Path) -> None:
    """Refuse a folder whose configuration asks for code of its own.

    Raises:
        InputError: If `config.json` is missing.
        GuardError: If a configuration names code to run (`auto_map`).
    """
    read_json(folder / "config.json")
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and read_json(file).get("auto_map"):
            raise GuardError(
                f"{file} asks for code of its own (auto_map)",
                why="alignstudy never runs code that comes with a model",
                hint="use a model whose architecture transformers knows, or remove 'auto_map'"
                " if the folder's architecture is one of those",
            )


def weight_files(folder: Path) -> list[Path]:
    """List the weight files that are read: safetensors where there are any, else `.bin`.

    Raises:
        InputError: If the folder holds neither.
    """
    safe = sorted(folder.glob("*.safetensors"))
    files = safe or sorted({*folder.glob("pytorch_model*.bin"), *folder.glob("adapter_model*.bin")})
    if not files:
        raise InputError(f"{folder} holds no weights", hint=NEEDED)
    return files


def weights_in(folder: Path) -> Weights:
    """Return a folder's weights: full ones, or an adapter on the base that its folder names.

    Raises:
        InputError: If it is an adapter that this package didn't save, or whose base isn't there.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return Weights(folder=folder)
    named = str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    if (folder / ADAPTER_RECORD).is_file() and Path(named).is_absolute():
        for base in (Path(named), _moved(folder, Path(named))):
            if base.is_dir():
                return Weights(folder=folder, base=base)
    raise InputError(
        f"{folder} is an adapter, not a whole model",
        why=f"which weights its base '{named}' had is not recorded, or they are not at that place",
        hint="merge it (PEFT's merge_and_unload), save model and tokenizer, and name that folder",
    )


def _moved(adapter: Path, base: Path) -> Path:
    """Return where the base is now, if the run folder that both are in was moved."""
    models = [place for place in adapter.absolute().parents if place.name == "models"]
    if not models or "models" not in base.parts:
        return base
    below = base.parts[::-1].index("models")
    return models[0].joinpath(*base.parts[len(base.parts) - below :])


@contextmanager
def named_faults(folder: Path) -> Iterator[None]:
    """Turn whatever a library raises of a folder into the project's errors.

    Raises:
        GuardError: If a pickle holds code.
        DamagedArtefactError: If a weight file can't be read as one.
        InputError: If a file is missing or the architecture is not known.
        EnvironmentFault: If permissions or a faulty disk keep a file from being read.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except UnpicklingError as error:
        raise _pickle_fault(folder, error) from error
    except (SafetensorError, EOFError) as error:
        raise _damaged(folder, error) from error
    except RuntimeError as error:
        of_reading = ("PytorchStreamReader", "file in archive", "mmap")
        if not any(mark in str(error) for mark in of_reading):
            raise
        raise _damaged(folder, error) from error
    except OSError as error:
        raise _file_fault(folder, error) from error
    except (ValueError, ImportError, StrictDataclassError) as error:
        raise _unusable(folder, error) from error


def _pickle_fault(folder: Path, error: UnpicklingError) -> GuardError | DamagedArtefactError:
    """Distinguish a pickle that would run code from one that is broken."""
    words = str(error)
    if "GLOBAL" not in words and "REDUCE" not in words and "BUILD" not in words:
        return _damaged(folder, error)
    return GuardError(
        f"a weight file in {folder} holds more than tensors",
        why="it is a pickle that would run code: "
        + next((line.strip() for line in words.splitlines() if "GLOBAL" in line), "refused"),
        hint="ask its owner for safetensors, or convert it on a machine that you can lose",
    )


def _damaged(folder: Path, error: BaseException) -> DamagedArtefactError:
    """Return the error of a broken weight file."""
    return DamagedArtefactError(
        f"a weight file in {folder} can't be read",
        why=first_line(error),
        hint="fetch or write the model folder again; the file is cut short or overwritten",
    )


def _unusable(folder: Path, error: BaseException) -> InputError:
    """Return the error of a folder that no model or tokenizer can be loaded from."""
    why = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"nothing can be loaded from {folder}", why=why, hint=NEEDED)


def _file_fault(folder: Path, error: OSError) -> AlignstudyError:
    """Distinguish a file that is truncated or unreadable from one that is missing."""
    if error.errno in {None, errno.ENOENT}:
        return _unusable(folder, error)
    if error.errno == errno.EINVAL:  # a zip archive's directory points outside the file
        return _damaged(folder, error)
    return EnvironmentFault(
        f"a file in {folder} can't be read",
        why=error.strerror or str(error),
        hint="check its permissions and the disk",
    )
