"""Which files a model's weights are in, and whether they are what their names say."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from alignstudy.errors import AlignstudyError, DamagedArtefactError, GuardError, InputError
from alignstudy.models.folder import ADAPTER_CONFIG, NEEDED, inside, named_faults, read_json

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
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise _damaged(file, str(error)) from error
    packed = any(entry.compress_type != ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise GuardError(
            f"{file} unpacks to more than its size",
            why="torch saves weights as they are, never packed",
            hint="ask its owner for safetensors",
        )


def _damaged(file: Path, why: str) -> AlignstudyError:
    return DamagedArtefactError(
        f"a weight file in {file.parent} can't be read",
        why=f"{file.name}: {why or 'it ends too early'}",
        hint=f"{_AGAIN}; the file is cut short or overwritten",
    )
