"""Which files a model's weights are in, and whether they are what their names say."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from pickletools import genops
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from alignstudy.errors import AlignstudyError, DamagedArtefactError, GuardError, InputError
from alignstudy.models.folder import (
    ADAPTER_CONFIG,
    NEEDED,
    clipped,
    inside,
    named_faults,
    read_json,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_OF_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_AGAIN = "fetch or write the model folder again"


def weight_files(folder: Path) -> list[Path]:
    """List the weight files that are read: no others count, and none outside the folder is read.

    One file, or else those that an index names; safetensors where there are any, else `.bin`.

    Raises:
        InputError: If the folder holds none, or an index names one that isn't there.
        GuardError: If an index names a file outside the folder.
        DamagedArtefactError: If an index can't be read.
    """
    of_adapter = (folder / ADAPTER_CONFIG).is_file()
    for name in _OF_ADAPTERS if of_adapter else _WHOLE:
        if (folder / name).is_file():
            return [inside(folder, name)]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return list(_indexed(index, Path(name).suffix))
    raise InputError(f"{folder} holds no weights", hint=NEEDED)


def _indexed(index: Path, suffix: str) -> Iterator[Path]:
    """Yield the files that an index names."""
    found = read_json(index)
    names = found.get("weight_map")
    if not isinstance(names, dict) or not names or not isinstance(found.get("metadata"), dict):
        raise DamagedArtefactError(f"{index} names no weight files", hint=_AGAIN)
    kinds = {type(name) for name in names.values()}
    if kinds != {str}:
        raise DamagedArtefactError(f"{index} names files by something that is no name", hint=_AGAIN)
    for name in sorted(set(names.values())):
        if not name.endswith(suffix):
            raise GuardError(
                f"{index} names {name[:200]!r}, which is no {suffix} file",
                why="what is read as weights is what its name says",
                hint=_AGAIN,
            )
        file = inside(index.parent, name)
        if not file.is_file():
            raise InputError(f"{index} names {name[:200]!r}, which isn't there", hint=_AGAIN)
        yield file


def check_weights(folder: Path) -> list[Path]:
    """Hold a folder's weight files against their formats, before a library reads them.

    Returns:
        Its weight files.

    Raises:
        GuardError: If one is an old-style pickle, or unpacks to more than its size.
        DamagedArtefactError: If one isn't of its format.
    """
    files = weight_files(folder)
    for file in files:
        _check_safetensors(file) if file.suffix == ".safetensors" else _check_archive(file)
    return files


def _check_safetensors(file: Path) -> None:
    """Have the library check a header: bounded in size, and of tensors that fill the file."""
    from safetensors import safe_open

    with named_faults(file.parent), safe_open(file, framework="numpy"):
        pass


def _check_archive(file: Path) -> None:
    """Check the archive that torch saves in since version 1.6: each tensor as it is, unpacked."""
    with file.open("rb") as stream:
        head = stream.read(2)
    if head[:1] == b"\x80" or (head and tarfile.is_tarfile(file)):
        raise GuardError(
            f"{file} is an old-style pickle",
            why="before version 1.6 torch saved weights as a program that is run to load them",
            hint="ask its owner for safetensors, or convert it on a machine that you can lose",
        )
    try:
        with ZipFile(file) as archive:
            entries = archive.infolist()
            _refuse_packed(file, entries)
            for entry in entries:
                if entry.filename.endswith("/data.pkl"):
                    _check_pickle(file, archive.read(entry))
    except (BadZipFile, ValueError, NotImplementedError, EOFError, LookupError) as error:
        raise _damaged(file, clipped(error)) from error


def _refuse_packed(file: Path, entries: Sequence[ZipInfo]) -> None:
    packed = any(entry.compress_type != ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise GuardError(
            f"{file} unpacks to more than its size",
            why="torch saves weights as they are, never packed",
            hint="ask its owner for safetensors",
        )


_OF_TENSORS = frozenset({"torch", "collections", "_codecs", "numpy"})
"""Packages that a pickle of tensors names; which of their names is torch's own rule."""


def _check_pickle(file: Path, pickled: bytes) -> None:
    """Refuse a pickle that names other code than tensors are made of; it is read, not run."""
    for sign, named, _ in genops(pickled):
        package = str(named).replace(" ", ".").split(".")[0]
        if sign.name in _NAMING and not (sign.name == "GLOBAL" and package in _OF_TENSORS):
            raise GuardError(
                f"{file} holds more than tensors",
                why=f"it is a pickle that would run code: {str(named).replace(' ', '.')[:200]}",
                hint="ask its owner for safetensors, or convert it on a machine that you can lose",
            )


_NAMING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})


def _damaged(file: Path, why: str) -> AlignstudyError:
    return DamagedArtefactError(
        f"a weight file in {file.parent} can't be read",
        why=f"{file.name}: {why or 'it ends too early'}",
        hint=f"{_AGAIN}; the file is cut short or overwritten",
    )


_SLACK = 1 << 26
"""Values that a model may have beside its files': tables of positions, masks."""


def check_room(folder: Path, model: PreTrainedModel) -> None:
    """Refuse a model, built on no device, of far more than its files hold: it would be allocated.

    Raises:
        InputError: If it is one.
    """
    held = sum(file.stat().st_size for file in weight_files(folder))
    tensors = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    described = sum(tensor.numel() for tensor in tensors.values())
    if described > 4 * held + _SLACK:
        raise InputError(
            f"{folder}/config.json describes a model of {described:,} values",
            why=f"the weights beside it have {held:,} bytes",
            hint="use the config.json that belongs to the weights",
        )
