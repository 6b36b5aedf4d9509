"""Folders that say themselves which file is which: saved data sets, and cards of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from alignstudy.errors import DataError

CARD = "README.md"
Described = tuple[Path, str, str]
"""(File, subset, split)."""


def saved_files(source: Path) -> list[Described]:
    """List the Arrow files of `Dataset.save_to_disk`, or of a `DatasetDict`; none of other folders.

    Raises:
        DataError: If what describes them can't be read.
    """
    if (source / "dataset_dict.json").is_file():
        splits = _listed(source / "dataset_dict.json", "splits")
        return [found for split in splits for found in _saved(source / split, split)]
    if (source / "state.json").is_file():
        return list(_saved(source, "train"))
    return []


def _saved(folder: Path, split: str) -> Iterator[Described]:
    for file in _listed(folder / "state.json", "_data_files", "filename"):
        yield folder / file, "", split


def _listed(path: Path, key: str, inner: str = "") -> list[str]:
    """Return the names that a description lists, each by itself or under a key of its own."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = [each[inner] if inner else each for each in found.get(key, [])]
        if all(isinstance(name, str) and name and "\0" not in name for name in names):
            return names
        why = f"'{key}' lists something else than names"
    except (OSError, ValueError, RecursionError) as error:
        why = str(error)
    except (AttributeError, KeyError, TypeError):
        why = f"'{key}' isn't laid out as `save_to_disk` does"
    raise DataError(f"{path}: the saved data set can't be read", why=why, hint="save it again")


def card_files(source: Path) -> list[Described]:
    """List the files of the configurations that a data set's card names; none without them.

    A configuration is a subset; `default` is the one without a name.
    """
    found: list[Described] = []
    for name, split, pattern in _configured(source):
        try:
            files = sorted(file for file in source.glob(pattern) if file.is_file())
        except (OSError, ValueError, LookupError, NotImplementedError) as error:
            raise DataError(
                f"{source / CARD}: '{pattern}' is no pattern of files",
                why=str(error),
                hint="correct `data_files` on the card, or take the card out of the folder",
            ) from error
        found += [(file, name, split) for file in files]
    return found


def subset_patterns(source: Path, subsets: Iterable[str]) -> list[str]:
    """Return the patterns of the files that subsets of a hub data set are in.

    Args:
        source: A folder that holds the data set's card, if it has one.
        subsets: By name; one that the card doesn't name is a folder.
    """
    configured = list(_configured(source))
    patterns: list[str] = []
    for subset in subsets:
        named = [pattern for name, _, pattern in configured if name == subset]
        patterns += named or [f"{subset}/*", f"data/{subset}/*"]
    return patterns


def _configured(source: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (subset, split, pattern) of a card's configurations."""
    card = source / CARD
    if not card.is_file():
        return
    parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return
    try:
        header = YAML(typ="safe", pure=True).load(parts[1])
    except (YAMLError, ValueError, RecursionError):
        return
    configs = header.get("configs") if isinstance(header, dict) else None
    for config in configs if isinstance(configs, list) else []:
        if not isinstance(config, dict):
            continue
        name = str(config.get("config_name", "default"))
        root = str(config.get("data_dir", "")).strip("/")
        for split, pattern in _patterns(config.get("data_files")):
            yield "" if name == "default" else name, split, f"{root}/{pattern}".lstrip("/")


def _patterns(given: object) -> Iterator[tuple[str, str]]:
    """Return (split, pattern) of `data_files`, as the hub reads it."""
    if isinstance(given, str):
        yield "train", given
    for item in given if isinstance(given, list) else []:
        if isinstance(item, str):
            yield "train", item
        elif isinstance(item, dict):
            paths = item.get("path", [])
            for path in paths if isinstance(paths, list) else [paths]:
                yield str(item.get("split", "train")), str(path)
