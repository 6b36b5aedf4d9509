"""What a user reads when a study file has faults: all of them at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from alignstudy.errors import DataError, SettingsError, likely_meant, listed, nearest, shortened
from alignstudy.methods import LOSSES
from alignstudy.study.settings.yaml_file import Path_, YamlFile, dotted

MOST_WORDED = 100
"""Faults of one file that are put into words; the rest is counted."""

TOLD = 1_500
"""Characters of the faults that are told."""


def settings_error(error: ValidationError, file: YamlFile, model: type[BaseModel]) -> SettingsError:
    """Write pydantic's faults as file, line, key, what was given, what is allowed."""
    faults = error.errors(include_url=False)
    lines = [_one_fault(item, file, model) for item in faults[:MOST_WORDED]]
    return _in_words(lines, file, more=len(faults) - len(lines))


def refuse(faults: Iterable[tuple[Path_, str]], file: YamlFile) -> None:
    """Refuse settings that are sound each by itself, if there is anything to refuse.

    Args:
        faults: (path of keys, what is wrong there), one a fault.
        file: What the settings were read from.

    Raises:
        SettingsError: With every fault at once, each with file, line and key.
    """
    lines = [f"{file.where(path)}: '{dotted(path)}': {text}" for path, text in faults]
    if lines:
        raise _in_words(lines, file)


@contextmanager
def data_faults_named(file: YamlFile) -> Iterator[None]:
    """Say of a fault of the data where in the study file it comes from.

    Raises:
        DataError: As it was raised, with file, line and key before it.
    """
    try:
        yield
    except DataError as error:
        named = (keys for keys in (error.keys, ("data", "source")) if keys and keys[0] in file.data)
        keys = next(named, ()) if error.keys else ()
        if keys:
            error.what = f"{file.where(keys)}: '{dotted(keys)}': {error.what}"
        raise


def _in_words(found: Iterable[str], file: YamlFile, *, more: int = 0) -> SettingsError:
    """Make the error of one line or several; what stands twice is named once."""
    lines = list(dict.fromkeys(found))
    told = listed(lines, between="\n  ", most=TOLD, more=more)
    number = len(lines) + more
    return SettingsError(
        f"{number} faults in the study:\n  {told}"
        if number > 1
        else f"the study has a fault: {told}",
        hint=file.remedy,
        kept="nothing was run",
    )


def _one_fault(item: ErrorDetails, file: YamlFile, model: type[BaseModel]) -> str:
    path = _path_in_file(item["loc"], file.data, missing=item["type"] == "missing")
    key = shortened(dotted(path), 200) or "the study"
    where = file.where(path)
    if item["type"] == "extra_forbidden":
        kinds: list[Any] = [model]
        for part in item["loc"][:-1]:
            # A part that leads nowhere names which of a union it is.
            kinds = [inner for kind in kinds for inner in _inside(kind, part)] or kinds
        fields = [item for kind in kinds for each in _models(kind) for item in _keys(each)]
        known = sorted({*fields} - {"settings"})  # a judge's own keys stand beside its name
        name = str(path[-1])
        deeper = () if nearest(name, known, cutoff=0.8) else _deeper(name, kinds)
        meant = f"; did you mean '{dotted((*path[:-1], *deeper))}'?" if deeper else ""
        return f"{where}: unknown key '{key}'{meant or _nearest(name, known)}"
    if item["type"] == "missing":
        return f"{where}: '{key}' is missing"
    if item["type"] == "union_tag_invalid":
        facts = item["ctx"]
        union, tag = str(facts["discriminator"]).strip("'"), str(facts["tag"])
        known = [name.strip(" '") for name in str(facts["expected_tags"]).split(",")]
        if union == "method":  # or a loss: their names are short and alike
            close = likely_meant(tag, [*known, *LOSSES])
            hint = f"did you mean '{close}'?" if close else "`alignstudy list methods` shows all"
            return f"{where}: '{key}': unknown method '{tag}'; {hint}"
        what = "judge" if union == "use" else union
        return f"{where}: '{key}': unknown {what} '{tag}'{_nearest(tag, known)}"
    if item["type"] in ("model_type", "model_attributes_type"):
        kinds = [model]
        for part in item["loc"]:
            kinds = [inner for kind in kinds for inner in _inside(kind, part)] or kinds
        keys = ", ".join(name for kind in kinds for each in _models(kind) for name in _keys(each))
        return f"{where}: '{key}' must be a section of keys; known here: {keys}"
    text = item["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    given = item.get("input")
    shown = (
        ""
        if isinstance(given, dict | list | tuple | BaseModel)
        else f", not {shortened(repr(given), 100)}"
    )
    return f"{where}: '{key}': {text[:1].lower()}{text[1:]}{shown}"


def _deeper(name: str, kinds: list[Any]) -> tuple[str, ...]:
    """Return where a key stands one section further in; () if in none."""
    for model in (each for kind in kinds for each in _models(kind)):
        for section, inner in model.model_fields.items():
            if any(name in _keys(each) for each in _models(inner.annotation)):
                return section, name
    return ()


def _nearest(name: str, known: list[str]) -> str:
    close = nearest(name, known)
    if close:
        return f"; did you mean '{close}'?"
    return f"; known here: {', '.join(known)}" if known else ""


def _path_in_file(location: tuple[int | str, ...], data: Any, *, missing: bool) -> Path_:  # noqa: ANN401
    """Drop the parts of pydantic's location that name classes or tags, not keys of the file.

    A key that is missing is the last part.
    """
    path: list[str | int] = []
    for at, part in enumerate(location):
        if isinstance(data, list):
            there = isinstance(part, int) and part < len(data)
        else:
            there = isinstance(data, dict) and part in data
        if there:
            data = data[part]
        elif not missing or at < len(location) - 1 or not isinstance(data, dict | str | None):
            continue
        path.append(part)
    return tuple(path)


def _inside(kind: Any, part: int | str) -> Iterator[Any]:  # noqa: ANN401 - an annotation
    """Follow one part of a location through an annotation."""
    for item in _models(kind):
        if part in item.model_fields:
            yield item.model_fields[str(part)].annotation
        elif any(get_args(field.annotation) == (part,) for field in item.model_fields.values()):
            yield item  # of a union: a location names the tag
    if get_origin(kind) in (tuple, dict):
        yield get_args(kind)[-1 if get_origin(kind) is dict else 0]


def _keys(kind: type[BaseModel]) -> list[str]:
    """Return the keys of a settings class as a study file writes them."""
    return [field.alias or name for name, field in kind.model_fields.items()]


def _models(kind: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - an annotation
    """Return the settings classes that an annotation allows."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in (Union, UnionType) or hasattr(kind, "__metadata__"):
        for inner in get_args(kind)[: 1 if hasattr(kind, "__metadata__") else None]:
            yield from _models(inner)
