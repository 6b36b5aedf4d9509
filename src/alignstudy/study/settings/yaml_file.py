"""Study files: YAML 1.2, strictly, every fault with its line.

Duplicate keys, aliases, tags and files over 1 MB are refused; `2e-5` is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
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

from alignstudy.errors import InputError, SettingsError, first_line

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_BITS = 1_024
"""Of a whole number, as many as a float can have."""

DICT = "the dict"
"""What messages call a study that came from Python."""

Path_ = tuple[str | int, ...]


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
        text = read_small(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"study file '{path}' can't be read",
            why=getattr(error, "strerror", None) or str(error),
            hint="name a YAML file in UTF-8, or a preset: see `alignstudy list presets`",
            kept="nothing was run",
        ) from error
    return parse_yaml(text, str(path))


def read_small(path: Path) -> bytes:
    """Read a file that people write.

    Raises:
        InputError: If it has more than 1 MB, or is no plain file: some of those never end.
        OSError: If it can't be read.
    """
    if not path.is_file() and path.exists() and not path.is_dir():
        raise InputError(f"'{path}' is no plain file", hint="name a file")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InputError(
            f"'{path}' is {path.stat().st_size} bytes",
            why="over 1 MB",
            hint="name a file of settings, or a template",
            kept="nothing was run",
        )
    return raw


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
    except (YAMLError, ValueError, RecursionError, TypeError, LookupError) as error:
        raise SettingsError(
            f"{origin}: not valid YAML", why=first_line(error), hint="see `alignstudy init`"
        ) from error
    if not isinstance(tree, CommentedMap):
        raise SettingsError(
            f"{origin}: a study file is a list of `key: value` lines",
            why=f"it holds {'nothing' if tree is None else type(tree).__name__}",
            hint="see `alignstudy init`",
        )
    lines: dict[Path_, int] = {}
    return YamlFile(origin, plain(tree, (), lines, origin), lines)


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


def plain(value: Any, path: Path_, lines: dict[Path_, int], origin: str) -> Any:  # noqa: ANN401
    """Turn ruamel's containers, and Python's, into plain ones; note each key's line in a file.

    Raises:
        SettingsError: If it holds what no study file can.
    """
    if len(path) > MAX_DEPTH:
        raise SettingsError(
            f"{origin}: nested deeper than {MAX_DEPTH} levels",
            hint="write it flatter: no study needs that",
        )
    if not isinstance(value, Mapping | list | tuple):
        return _plain_scalar(value, path, origin)
    lines |= _lines_in(value, path)
    if not isinstance(value, Mapping):
        return [plain(item, (*path, at), lines, origin) for at, item in enumerate(value)]
    for name in value:
        if not isinstance(name, str):
            raise SettingsError(f"{origin}: key {name!r} is not a word", hint="quote it")
    return {
        _joined(name, "a key", origin): plain(item, (*path, name), lines, origin)
        for name, item in value.items()
    }


def _joined(text: str, what: str, origin: str) -> str:
    """Join the halves of surrogate pairs: JSON escapes a character beyond 16 bits as two."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise SettingsError(
            f"{origin}: {what} holds half of a surrogate pair",
            hint="write the character itself",
            kept="nothing was run",
        ) from None


def _plain_scalar(value: Any, path: Path_, origin: str) -> Any:  # noqa: ANN401 - a YAML value
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise SettingsError(
            f"{origin}: {dotted(path)} is a number of too many digits",
            hint="write a number of usual size",
            kept="nothing was run",
        )
    if isinstance(value, str):
        return _joined(str(value), dotted(path), origin)
    for kind in (bool, int, float):
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
    return YamlFile(DICT, plain(study, (), {}, DICT))
