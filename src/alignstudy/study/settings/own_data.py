"""What a study that says little means, where its data is not HH-RLHF but one's own.

There are no subsets to name then: all rows of the test split are asked about, on one axis, and
thresholds are calibrated on a share of the train split. Judges are measured on the same pairs,
since what a threshold is chosen by says nothing about how pairs are ranked: no row is spent twice.
Where methods are tuned, a share beside it is for that, and for judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignstudy.data.files.layout import SplitFile, default_splits, find_files
from alignstudy.data.files.reading import Reading, calibration_share
from alignstudy.data.select.held_out import SUBSETS
from alignstudy.data.select.selection import TEST_SHARE
from alignstudy.errors import AlignstudyError, NotFetchedError
from alignstudy.metrics.axes import HELPFUL, PUBLISHED, axis_named
from alignstudy.sources import Source, home_path, resolve
from alignstudy.study.settings.axes import CALIBRATED

WORLD = "world"
"""The data source that means: the small world that the package generates."""


def is_published(source: object) -> bool:
    """Whether a source has HH-RLHF's subsets: the world, a folder with them, or the hub's id."""
    if not isinstance(source, str) or source == WORLD:
        return True
    folder = home_path(source)
    if folder.exists():
        return any((folder / name).is_dir() for names in SUBSETS.values() for name in names)
    return "hh-rlhf" in source.lower()


def with_own_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """Fill in a study file's prompts, calibration and validation for data of one's own.

    What the file says stays; a study on HH-RLHF is returned as it is.
    """
    data = given.get("data")
    if not isinstance(data, Mapping) or is_published(data.get("source")):
        return given
    folder = _folder(data)
    train, test = default_splits(_files(folder))
    filled = {**given, "data": _with(data, "train", {"split": train})}
    prompts = given.get("prompts", {})
    if isinstance(prompts, Mapping) and "axes" not in given:
        filled["prompts"] = _prompts(prompts, _subsets(data), test)
    axes = _drawn(filled)
    share = TEST_SHARE if folder is None else _share(data, folder, train)
    held_out = {"subsets": axes, "split": train, "share": [0.0, share]}
    limits = given.get("thresholds", CALIBRATED)
    calibrated = (limits.get("calibrated") if isinstance(limits, dict) else limits) in (
        CALIBRATED,
        True,
    )
    if isinstance(given.get("axes"), Mapping):
        calibrated = any(
            not isinstance(each, Mapping) or each.get("threshold", CALIBRATED) == CALIBRATED
            for each in given["axes"].values()
        )
    if calibrated and given.get("calibration", {}) is not None:
        filled["calibration"] = _merged(held_out, given.get("calibration", {}))
    if "validation" not in given:
        drawn = filled.get("calibration")
        filled["validation"] = drawn if calibrated and isinstance(drawn, Mapping) else None
        if given.get("tune") is not None:  # trials may not be chosen on a threshold's own pairs
            filled["validation"] = {**held_out, "share": [share, round(min(1.0, 2 * share), 6)]}
    elif isinstance(given["validation"], Mapping):
        filled["validation"] = _merged({"subsets": axes, "split": test}, given["validation"])
    return filled


def _folder(data: Mapping[str, Any]) -> Path | None:
    """Return where a source's files are; None if they are not on this machine, or not yet."""
    revision = data.get("revision")
    source = Source(
        name=data["source"],
        kind="dataset",
        revision=revision if isinstance(revision, str) else None,
    )
    path = home_path(source.name)
    if source.is_local:
        return path if path.exists() else None
    try:
        return resolve(source, offline=True).path
    except NotFetchedError:
        return None


def _files(folder: Path | None) -> list[SplitFile]:
    """List the files of a source; a fault is found where it is read."""
    try:
        return [] if folder is None else find_files(folder, parted=True)
    except AlignstudyError:
        return []


def _subsets(data: Mapping[str, Any]) -> object:
    """Return the subsets that a study trains on; none: all."""
    train = data.get("train")
    named = train.get("subsets", []) if isinstance(train, Mapping) else []
    return named if isinstance(named, str | list) else []


def _share(data: Mapping[str, Any], folder: Path, split: str) -> float:
    """Return the share of the dialogues to train on that thresholds are calibrated on."""
    given = {key: value for key, value in data.items() if key in Reading.model_fields}
    try:
        how = Reading.model_validate({**given, "parted": True})
        return round(calibration_share(folder, split, how=how), 6)
    except (AlignstudyError, ValidationError):  # a fault is said where it is read
        return TEST_SHARE


def _with(settings: Mapping[str, Any], key: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    inner = settings.get(key, {})
    return {**settings, key: {**defaults, **inner}} if isinstance(inner, Mapping) else {**settings}


def _merged(defaults: Mapping[str, Any], given: object) -> object:
    """Put defaults under what is given; axes may stand beside the keys."""
    if not isinstance(given, Mapping):
        return given
    words = {word for axis in PUBLISHED for word in (axis.name, axis.prompts, axis.quality)}
    beside = any(key in words for key in given)
    return {**{k: v for k, v in defaults.items() if not (beside and k == "subsets")}, **given}


def _prompts(given: Mapping[str, Any], subsets: object, test: str) -> dict[str, Any]:
    """Say which prompts are asked: all rows of the test split, unless the study names axes.

    Args:
        given: What the study says of prompts.
        subsets: Those that it trains on.
        test: The split to test on.
    """
    inner = given.get("axes", given)
    if not isinstance(inner, Mapping):  # a fault, which is said where it is read
        return dict(given)
    named = {key for key in inner if axis_named(str(key)) in PUBLISHED}
    filled = dict(given)
    into = filled if inner is given else {**inner}
    if inner is not given:
        filled["axes"] = into
    if not named:
        into[HELPFUL.prompts] = {}
        named = {HELPFUL.prompts}
    for axis in PUBLISHED:
        key = next((key for key in named if axis_named(str(key)) == axis), None)
        if key is None:
            into[axis.prompts] = None
        elif isinstance(into[key], Mapping) and "file" not in into[key]:
            named_so = {} if "subset" in into[key] else {"subsets": subsets}
            into[key] = {**named_so, "split": test, "n": None, **into[key]}
    return filled


def _drawn(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return axis -> the subsets that its pairs come from: its prompts' own."""
    if isinstance(given.get("axes"), Mapping):
        entries = {key: each or {} for key, each in given["axes"].items()}
        asked = {k: e.get("prompts", {}) for k, e in entries.items() if isinstance(e, Mapping)}
    else:
        inner = given.get("prompts", {})
        inner = inner.get("axes", inner) if isinstance(inner, Mapping) else {}
        asked = dict(inner) if isinstance(inner, Mapping) else {}
    return {
        key: each.get("subsets", [each["subset"]] if "subset" in each else [])
        for key, each in asked.items()
        if isinstance(each, Mapping)
    }
