"""Study files: YAML 1.2, strictly, every fault with its line.

Duplicate keys, aliases, tags and files over 1 MB are refused; `2e-5` is a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from io import StringIO
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from alignstudy.errors import InputError, SettingsError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50

DICT = "the dict"
"""What messages call a study that came from Python."""

Path_ = tuple[str | int, ...]

Overrides = Sequence[str] | Mapping[str, Any]
"""Settings to change, by dotted key: `["seeds=[1]"]`, values in YAML, or `{"seeds": [1]}`."""


@dataclass(frozen=True)
class YamlFile:
    """A study file's content, and the line of every key.

    Attributes:
        origin: What messages call it: the path, `preset demo`, or `the dict`.
        data: Plain dicts, lists and scalars.
        lines: Line (from 1) by the path of keys; `--set` values have none.
    """

    origin: str
    data: dict[str, Any]
    lines: dict[Path_, int] = field(default_factory=dict)
    overrides: frozenset[Path_] = frozenset()

    @property
    def remedy(self) -> str:
        """What to do about faults."""
        if self.origin == DICT:
            return "fix the dict or the overrides, then `Study.check()`"
        return "fix the study file or --set, then `alignstudy check`"

    def where(self, path: Path_) -> str:
        """Return where a key stands: `study.yaml:12`, or `--set data.source`."""
        prefixes = [path[:end] for end in range(len(path), 0, -1)]
        for prefix in prefixes:  # what `--set` replaced no longer stands in the file
            if prefix in self.overrides:
                return f"--set {'.'.join(map(str, prefix))}"
        for prefix in prefixes:
            if prefix in self.lines:
                return f"{self.origin}:{self.lines[prefix]}"
        return self.origin


def dotted(path: Path_) -> str:
    """Write a path of keys as users do: `judges[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_yaml(path: Path) -> YamlFile:
    """Read a study file from the disk.

    Raises:
        InputError: If it isn't there, isn't UTF-8, or is too large.
        SettingsError: If it isn't acceptable YAML.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"study file '{path}' can't be read",
            why=getattr(error, "strerror", None) or str(error),
            hint="name a YAML file in UTF-8, or a preset: see `alignstudy list presets`",
            kept="nothing was run",
        ) from error
    if len(raw) > MAX_BYTES:
        raise InputError(
            f"study file '{path}' is {len(raw)} bytes",
            why="over 1 MB",
            hint="a study file is a page of settings",
        )
    return parse_yaml(text, str(path))


def parse_yaml(text: str, origin: str) -> YamlFile:
    """Parse a study file's text.

    Raises:
        SettingsError: With file and line.
    """
    try:
        _refuse_tricks(text, origin)
        tree = YAML(typ="rt", pure=True).load(StringIO(text))
    except DuplicateKeyError as error:
        raise _fault(origin, error, "a key stands twice", "keep one of the two") from error
    except MarkedYAMLError as error:
        raise _fault(origin, error, "not valid YAML", "fix the line") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{origin}: not valid YAML", why=str(error)) from error
    if not isinstance(tree, CommentedMap):
        raise SettingsError(
            f"{origin}: a study file is a list of `key: value` lines",
            why=f"it holds {'nothing' if tree is None else type(tree).__name__}",
            hint="see `alignstudy init`",
        )
    lines: dict[Path_, int] = {}
    return YamlFile(origin, _plain(tree, (), lines, origin), lines)


def _fault(origin: str, error: MarkedYAMLError, what: str, hint: str) -> SettingsError:
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    why = (error.problem or str(error)).splitlines()[0]
    return SettingsError(f"{origin}{line}: {what}", why=why, hint=hint, kept="nothing was run")


def _refuse_tricks(text: str, origin: str) -> None:
    """Refuse aliases, tags, merge keys, and nesting that no study needs."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(StringIO(text)):
        line = event.start_mark.line + 1
        trick, hint = _trick(event)
        if trick:
            text = f"{origin}:{line}: {trick} are not used in study files"
            raise SettingsError(text, hint=hint, kept="nothing was run")
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
        elif type(event).__name__.endswith("EndEvent") and "Document" not in type(event).__name__:
            depth -= 1
        if depth > MAX_DEPTH:
            raise SettingsError(
                f"{origin}:{line}: nested deeper than {MAX_DEPTH} levels",
                hint="write it flatter: no study needs that",
            )


def _trick(event: object) -> tuple[str, str]:
    """Return what an event is that study files don't use, and what to do; "" of all others."""
    if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
        return "anchors and aliases", "write the value out"
    if getattr(event, "tag", None) is not None:
        return "tags (!...)", "write the plain value"
    if isinstance(event, ScalarEvent) and event.value == "<<" and not event.style:
        return "merge keys (<<)", "write the keys out, or quote it if text is meant"
    return "", ""


def _plain(value: Any, path: Path_, lines: dict[Path_, int], origin: str) -> Any:  # noqa: ANN401
    """Turn ruamel's containers, and Python's, into plain ones; note each key's line in a file."""
    if len(path) > MAX_DEPTH:
        raise SettingsError(
            f"{origin}: nested deeper than {MAX_DEPTH} levels",
            hint="write it flatter: no study needs that",
        )
    if not isinstance(value, Mapping | list | tuple):
        return _plain_scalar(value, path, origin)
    lines |= _lines_in(value, path)
    if not isinstance(value, Mapping):
        return [_plain(item, (*path, at), lines, origin) for at, item in enumerate(value)]
    for name in value:
        if not isinstance(name, str):
            raise SettingsError(f"{origin}: key {name!r} is not a word", hint="quote it")
    return {name: _plain(item, (*path, name), lines, origin) for name, item in value.items()}


def _plain_scalar(value: Any, path: Path_, origin: str) -> Any:  # noqa: ANN401 - a YAML value
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if value is None:
        return None
    raise SettingsError(
        f"{origin}: {dotted(path)} holds a {type(value).__name__}",
        hint="write text (in quotes), a number, true or false, a list or a section",
        kept="nothing was run",
    )


def _lines_in(value: Any, path: Path_) -> dict[Path_, int]:  # noqa: ANN401 - a YAML value
    """Return the line of each item, where a file has it."""
    if isinstance(value, CommentedMap):
        return {(*path, name): value.lc.key(name)[0] + 1 for name in value}
    if isinstance(value, CommentedSeq):
        return {(*path, at): value.lc.item(at)[0] + 1 for at in range(len(value))}
    return {}


def from_mapping(study: Mapping[str, Any]) -> YamlFile:
    """Take a study that Python holds for what a file would hold.

    Raises:
        SettingsError: If it is no dict, or holds what no study file can.
    """
    if not isinstance(study, Mapping):
        kind = type(study).__name__
        raise SettingsError(f"a study is a dict of settings, not a {kind}", hint="see `Study.load`")
    return YamlFile(DICT, _plain(study, (), {}, DICT))


def override_texts(overrides: Overrides) -> tuple[str, ...]:
    """Write overrides as `--set` has them; JSON is YAML.

    Raises:
        SettingsError: If a value is none that a study file can hold.
    """
    if not isinstance(overrides, Mapping):
        return (overrides,) if isinstance(overrides, str) else tuple(overrides)
    plain = _plain(overrides, (), {}, "overrides")
    return tuple(f"{key}={_as_yaml(value)}" for key, value in plain.items())


def _as_yaml(value: object) -> str:
    """Write a value as JSON that YAML reads: no raw character that YAML forbids."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(
        "[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text
    )


def apply_overrides(file: YamlFile, settings: Sequence[str]) -> YamlFile:
    """Apply `--set a.b=value` in order; values are YAML.

    Raises:
        SettingsError: If one isn't `key=value`, or leads through something that isn't a section.
    """
    data = deepcopy(file.data)
    paths: set[Path_] = set()
    for setting in settings:
        name, equals, text = setting.partition("=")
        path = tuple(int(p) if p.isdecimal() else p for p in name.strip().split("."))
        if not equals or "" in path:
            raise SettingsError(f"--set {setting}: not `key=value`", hint="--set seeds=[1]")
        value = parse_yaml(f"value: {text or 'null'}", f"--set {name}").data["value"]
        section: Any = data
        for part in path[:-1]:
            if isinstance(section, dict) and section.get(part) is None:
                section[part] = {}
            section = _item(section, part, setting)
        if not isinstance(section, dict):
            _item(section, path[-1], setting)
        section[path[-1]] = value
        paths.add(path)
    return YamlFile(file.origin, data, file.lines, file.overrides | paths)


def _item(section: Any, part: str | int, setting: str) -> Any:  # noqa: ANN401 - a YAML value
    """Return one item of a section or list."""
    if isinstance(section, dict):
        return section[part]
    if isinstance(section, list) and isinstance(part, int) and part < len(section):
        return section[part]
    raise SettingsError(
        f"--set {setting}: there is no '{part}' to set",
        why=f"what stands there is a {type(section).__name__}, not a section that holds it",
        hint="set the whole section in the study file",
    )
