"""Which files of a source hold which subset and split.

A source is one of
    <subset>/<split>.jsonl.gz      a folder as the hub holds HH-RLHF
    <split>.jsonl.gz               a flat folder: the subset is empty; `data/` counts as flat
    <subset>/<split>/0000.parquet  as the hub converts data sets
    a folder of `save_to_disk`, or one whose card (README.md) names its files
    anything.jsonl                 one file
of JSON lines, JSON, CSV, TSV, Parquet or Arrow, the texts plain or gzipped. Shards
(`train-00000-of-00002.parquet`) are one split. The dialogues of a file, and on demand those of a
folder with one split, are parted by hash into train and test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alignstudy.data.files.described import card_files, saved_files
from alignstudy.errors import DataError
from alignstudy.sources import plain_files

SUFFIXES = (
    *(f".{kind}{end}" for kind in ("jsonl", "json", "csv", "tsv") for end in (".gz", "")),
    ".parquet",
    ".arrow",
)
MADE_SPLITS = ("train", "test")

_SHARD = re.compile(r"(-\d{5}-of-\d{5}(-[0-9a-f]{16})?|^\d{4,5}|^data|^part-\d+)$")
_NO_ROWS = re.compile(r"^(dataset_infos?|dataset_dict|state|config|metadata|package)\.json$")
_HELD_OUT = re.compile(r"test|valid|dev|eval")


@dataclass(frozen=True, kw_only=True)
class SplitFile:
    """One file of rows.

    Attributes:
        name: Path inside the source.
        split: None for a source of one split, whose rows are parted by hash.
    """

    path: Path
    name: str
    subset: str
    split: str | None


def choose_files(
    source: Path, *, subsets: Sequence[str], split: str, parted: bool | None = None
) -> list[SplitFile]:
    """Find the files of a split, in the subsets' order (none given: all that have the split).

    Args:
        source: A folder or a file.
        subsets: By name.
        split: By name.
        parted: See `find_files`.

    Raises:
        DataError: If source, subset or split isn't there; the message names what is.
    """
    files = find_files(source, parted=parted)
    there = sorted({file.subset for file in files})
    for subset in subsets:
        if subset not in there:
            raise _missing(f"subset '{subset}'", source, files)
    made = files[0].split is None
    if made and split not in MADE_SPLITS:
        raise DataError(
            f"{source.name}: no split '{split}'",
            why="the source has one split; its dialogues are parted into train and test",
            hint="take split train or test, or part train further by `share`",
        )
    of_split = [file for file in files if made or file.split == split]
    wanted = dict.fromkeys(subsets or there)
    chosen = [file for subset in wanted for file in of_split if file.subset == subset]
    for subset in subsets:
        if subset not in {file.subset for file in chosen}:
            raise _missing(f"split '{split}' of subset '{subset}'", source, files)
    if not chosen:
        raise _missing(f"split '{split}'", source, files)
    _check_unambiguous(chosen, source)
    return chosen


def find_files(source: Path, *, parted: bool | None = None) -> list[SplitFile]:
    """List all files of rows in a source, sorted by name.

    Args:
        source: A folder or a file.
        parted: Whether a source of one split is parted into train and test, if that isn't one to
            test on; None: a file is.

    Raises:
        DataError: If there is none.
    """
    if source.is_file():
        found = [SplitFile(path=source, name=source.name, subset="", split="train")]
        parted = parted is not False
    elif source.is_dir():
        found = _in_folder(source)
    else:
        raise DataError(
            f"data source {source} doesn't exist",
            hint="name a folder or a file of rows of this machine, or a hub id",
        )
    splits = {str(file.split) for file in found}
    if not parted or len(splits) > 1 or _HELD_OUT.search(" ".join(splits)):
        return found
    return [replace(file, split=None) for file in found]


def default_splits(files: Sequence[SplitFile]) -> tuple[str, str]:
    """Return the names of the splits to train on and to test on, where a study doesn't say.

    Of several the one for preferences: `train_prefs`, `test_prefs`.
    """
    splits = sorted({file.split for file in files if file.split is not None})
    tested = [split for split in splits if _HELD_OUT.search(split)]
    trained = [split for split in splits if split not in tested]

    def best(named: list[str], default: str) -> str:
        order = sorted(named, key=lambda split: (split != default, "pref" not in split, split))
        return order[0] if order else default

    return best(trained, "train"), best(tested, "test")


def _in_folder(source: Path) -> list[SplitFile]:
    described = saved_files(source) or card_files(source)
    files = plain_files(source)
    for path, _, _ in described:
        if not path.is_relative_to(source) or path.relative_to(source).as_posix() not in files:
            raise DataError(
                f"{source} names a file outside of itself, a hidden or a lost one: {path}",
                hint="copy the file into the folder; what is read must be what is hashed",
            )
    found = [
        SplitFile(path=path, name=path.relative_to(source).as_posix(), subset=subset, split=split)
        for path, subset, split in described
    ]
    for name, path in files.items() if not found else ():
        parts = tuple(name.split("/"))
        place = None if len(parts) > 3 else _place(parts)
        if place is not None:
            subset, split = place
            found.append(SplitFile(path=path, name=name, subset=subset, split=split))
    if not found:
        raise DataError(
            f"{source}: no file of rows",
            why="looked for <subset>/<split> and <split> with the ending " + ", ".join(SUFFIXES),
            hint="name the folder that holds them",
        )
    return found


def _place(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """Return subset and split of a file by its path; None if it holds no rows."""
    stem = _stem(parts[-1])
    if stem is None or _NO_ROWS.match(parts[-1]):
        return None
    folders = list(parts[:-1])
    if folders[:1] == ["data"]:
        folders.pop(0)
    split = _SHARD.sub("", _SHARD.sub("", stem))  # data-00000-of-00001 -> data -> nothing
    if not split and folders:  # <split>/0000.parquet
        split = folders.pop()
    return ("" if not folders else folders[0], split or stem) if len(folders) < 2 else None


def _stem(name: str) -> str | None:
    """Return a file's name without its ending; None if it holds no rows."""
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), None)


def _check_unambiguous(files: Sequence[SplitFile], source: Path) -> None:
    """Refuse a split that lies there twice (x.jsonl and x.jsonl.gz): rows would count double."""
    seen: dict[tuple[str, str], SplitFile] = {}
    for file in files:
        stem = _stem(file.path.name) or file.path.name
        before = seen.setdefault((file.path.parent.as_posix(), stem), file)
        if before is not file:
            raise DataError(
                f"{source}: {before.name} and {file.name} are the same split",
                hint="keep one of them",
            )


def _missing(what: str, source: Path, files: Sequence[SplitFile]) -> DataError:
    there = sorted({f"{file.subset}/{file.split or 'train'}".lstrip("/") for file in files})
    return DataError(
        f"{source}: no {what}",
        why=f"there: {', '.join(there)}",
        hint="correct `subsets` or `split` in the study file",
        kept="nothing was run",
    )
