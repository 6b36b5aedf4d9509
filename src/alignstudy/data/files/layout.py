"""Which files of a source hold which subset and split.

A source is one of
    <subset>/<split>.jsonl.gz      a folder as the hub holds HH-RLHF (also .jsonl and .parquet)
    <split>.jsonl.gz               a flat folder: the subset is empty
    anything.jsonl                 one file: its rows are parted by the hash of their dialogue
Parquet shards (`train-00000-of-00002.parquet`) are one split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alignstudy.errors import DataError

SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")
MADE_SPLITS = ("train", "test")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, kw_only=True)
class SplitFile:
    """One file of rows.

    Attributes:
        name: Path inside the source.
        split: None for a source that is one file, whose rows are parted by hash.
    """

    path: Path
    name: str
    subset: str
    split: str | None


def choose_files(source: Path, *, subsets: Sequence[str], split: str) -> list[SplitFile]:
    """Find the files of a split, in the subsets' order (none given: all that have the split).

    Raises:
        DataError: If source, subset or split isn't there; the message names what is.
    """
    files = find_files(source)
    if files[0].split is None:
        _check_single_file(files[0], subsets, split)
        return files
    there = sorted({file.subset for file in files})
    for subset in subsets:
        if subset not in there:
            raise _missing(f"subset '{subset}'", source, files)
    of_split = [file for file in files if file.split == split]
    wanted = dict.fromkeys(subsets or there)
    chosen = [file for subset in wanted for file in of_split if file.subset == subset]
    for subset in subsets:
        if subset not in {file.subset for file in chosen}:
            raise _missing(f"split '{split}' of subset '{subset}'", source, files)
    if not chosen:
        raise _missing(f"split '{split}'", source, files)
    _check_unambiguous(chosen, source)
    return chosen


def find_files(source: Path) -> list[SplitFile]:
    """List all files of rows in a source, sorted by name.

    Raises:
        DataError: If there is none.
    """
    if source.is_file():
        if _stem(source.name) is None:
            raise DataError(
                f"{source}: not a file of rows",
                why=f"its name ends in none of {', '.join(SUFFIXES)}",
                hint="convert it to JSON lines (one object a line) or Parquet",
            )
        return [SplitFile(path=source, name=source.name, subset="", split=None)]
    if not source.is_dir():
        raise DataError(
            f"data source {source} doesn't exist",
            hint="name a folder or a file of rows of this machine, or a hub id",
        )
    found = []
    for path in sorted(path for path in [*source.glob("*"), *source.glob("*/*")] if path.is_file()):
        inside, stem = path.relative_to(source), _stem(path.name)
        if stem is not None and not any(part.startswith(".") for part in inside.parts):
            subset = "" if len(inside.parts) == 1 else inside.parts[0]
            split = _SHARD.sub("", stem)
            found.append(SplitFile(path=path, name=inside.as_posix(), subset=subset, split=split))
    if not found:
        raise DataError(
            f"{source}: no file of rows",
            why="looked for <subset>/<split> and <split> with the ending " + ", ".join(SUFFIXES),
            hint="name the folder that holds them",
        )
    return found


def _stem(name: str) -> str | None:
    """Return a file's name without its ending; None if it holds no rows."""
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), None)


def _check_single_file(file: SplitFile, subsets: Sequence[str], split: str) -> None:
    if [subset for subset in subsets if subset]:
        raise DataError(
            f"{file.name}: no subset '{subsets[0]}'",
            why="the source is one file, which has no subsets",
            hint="take `subsets` out, or name a folder <subset>/<split>.jsonl.gz",
        )
    if split not in MADE_SPLITS:
        raise DataError(
            f"{file.name}: no split '{split}'",
            why="the source is one file; its dialogues are parted into train (90 of 100) and test",
            hint="take split train or test, or part train further by `share`",
        )


def _check_unambiguous(files: Sequence[SplitFile], source: Path) -> None:
    """Refuse a split that lies there twice (x.jsonl and x.jsonl.gz): rows would count double."""
    seen: dict[tuple[str, str | None], SplitFile] = {}
    for file in files:
        before = seen.setdefault((file.subset, file.split), file)
        shards = [_SHARD.search(_stem(item.path.name) or "") for item in (before, file)]
        if before is not file and not all(shards):
            raise DataError(
                f"{source}: {before.name} and {file.name} are the same split",
                hint="keep one of them",
            )


def _missing(what: str, source: Path, files: Sequence[SplitFile]) -> DataError:
    there = sorted({f"{file.subset}/{file.split}".lstrip("/") for file in files})
    return DataError(
        f"{source}: no {what}",
        why=f"there: {', '.join(there)}",
        hint="correct `subsets` or `split` in the study file",
        kept="nothing was run",
    )
