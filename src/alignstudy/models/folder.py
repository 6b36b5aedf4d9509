"""What a model folder must hold, and what its faults are called."""

from __future__ import annotations

import errno
import json
import re
import struct
from collections.abc import Iterable, Iterator
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
)
from alignstudy.records import Weights

ADAPTER_RECORD = "alignstudy.json"
"""Lies next to `adapter_config.json`: {"base_weights_sha256": ..., "base": name}.

And "load_in_4bit": true where its base is held in 4 bits.
"""

ADAPTER_CONFIG = "adapter_config.json"

NEEDED = (
    "a model folder holds config.json, weights (model.safetensors or pytorch_model.bin) and a"
    " tokenizer (tokenizer.json, or vocab.json with merges.txt, or spm.model)"
)


_NO_NAME = re.compile(r"[/\\\0]")

MOST_BYTES, MOST_OF_A_CONFIG, MOST_DEPTH = 1 << 28, 1 << 24, 64
"""Of JSON files: the largest tokenizers' have an eighth of that, configurations a depth of 5."""


def read_json(file: Path, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: If there is no such file, or it is larger or deeper than any has need of.
        DamagedArtefactError: If it is no JSON object.
    """
    if not file.is_file():
        raise InputError(f"{file.parent} has no {file.name}", hint=NEEDED)
    check_size(file, most)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedArtefactError(
            f"{file} is not JSON", why=clipped(error), hint="fetch or write the model folder again"
        ) from error
    except RecursionError:
        raise _too_deep(file) from None
    if not isinstance(values, dict):
        raise DamagedArtefactError(f"{file} is not a JSON object", hint="fetch the folder again")
    return values


def read_config_json(file: Path) -> dict[str, Any]:
    """Read a configuration, which libraries go through part by part: bounded more closely.

    Raises:
        InputError: If there is no such file, or it is larger or deeper than any has need of.
        DamagedArtefactError: If it is no JSON object.
    """
    values = read_json(file, most=MOST_OF_A_CONFIG)
    layer: list[Any] = [values]
    for _ in range(MOST_DEPTH):
        within = [each.values() if isinstance(each, dict) else each for each in layer]
        layer = [each for one in within for each in one if isinstance(each, dict | list)]
        if not layer:
            return values
    raise _too_deep(file)


def _too_deep(file: Path) -> InputError:
    return InputError(
        f"{file} is nested more than {MOST_DEPTH} deep",
        why="no model's configuration is",
        hint="fetch the model folder again, from another place",
    )


def check_size(file: Path, most: int) -> None:
    """Refuse a file that is larger than any of its kind has need of.

    Raises:
        InputError: If it is.
    """
    if (size := file.stat().st_size) > most:
        raise InputError(
            f"{file} has {size:,} bytes",
            why=f"no such file of a model has more than {most:,}",
            hint="fetch the model folder again, from another place",
        )


def some(names: Iterable[str]) -> str:
    """Name the first few."""
    listed = sorted(map(str, names))
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


def clipped(error: BaseException) -> str:
    """Return what a library says, in one line of bounded length."""
    words = " ".join(str(error)[:_SAID].split()) or type(error).__name__
    return words if len(words) < _SAID else f"{words} ..."


_SAID = 600


def inside(folder: Path, name: str) -> Path:
    """Return a folder's file of a name that the folder itself gives.

    Raises:
        GuardError: If it is no plain name, or a link that leads out of the folder. In the hub's
            cache, links within a repository are how files are kept.
    """
    root = folder.resolve()
    cached = root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--")
    home = root.parent.parent if cached else root
    plain = name not in ("", ".", "..") and not _NO_NAME.search(name)
    if plain and (folder / name).resolve().is_relative_to(home):
        return folder / name
    raise GuardError(
        f"{folder} names a file outside of it: {name[:200]!r}",
        why="what is read of a model is in its folder, where it is hashed",
        hint="copy that file into the folder, and name it there",
    )


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
    except (SafetensorError, EOFError, struct.error) as error:
        raise _damaged(folder, error) from error
    except (RecursionError, NotImplementedError) as error:
        raise _unusable(folder, error) from error
    except RuntimeError as error:
        words = str(error)
        if any(mark in words for mark in ("memory", "CUDA", "thread")):
            raise  # the machine's fault
        of_reading = ("PytorchStreamReader", "file in archive", "mmap", "storage")
        read = any(mark in words for mark in of_reading)
        raise (_damaged if read else _unusable)(folder, error) from error
    except OSError as error:
        raise _file_fault(folder, error) from error
    except (*OF_VALUES, StrictDataclassError) as error:
        raise _unusable(folder, error) from error


OF_VALUES = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    ImportError,
)
"""What a library raises of a configuration whose values it didn't expect."""


def _pickle_fault(folder: Path, error: UnpicklingError) -> GuardError | DamagedArtefactError:
    """Distinguish a pickle that would run code from one that is broken.

    Torch's own words advise to run it.
    """
    words = str(error)[:10_000]
    if not any(mark in words for mark in ("GLOBAL", "REDUCE", "BUILD")):
        return _damaged(folder, EOFError("its pickle is broken"))
    named = re.search(r"GLOBAL (?!instruction)([\w.]{1,200})", words)
    return GuardError(
        f"a weight file in {folder} holds more than tensors",
        why="it is a pickle that would run code" + (f": {named[1]}" if named else ""),
        hint="ask its owner for safetensors, or convert it on a machine that you can lose",
    )


def _damaged(folder: Path, error: BaseException) -> DamagedArtefactError:
    """Return the error of a broken weight file."""
    return DamagedArtefactError(
        f"a weight file in {folder} can't be read",
        why=clipped(error),
        hint="fetch or write the model folder again; the file is cut short or overwritten",
    )


def _unusable(folder: Path, error: BaseException) -> InputError:
    """Return the error of a folder that no model or tokenizer can be loaded from."""
    kind = "" if isinstance(error, OSError | ValueError | ImportError) else type(error).__name__
    why = ": ".join(filter(None, [kind, clipped(error)]))
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
