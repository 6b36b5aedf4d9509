"""Settings that are changed beside the study file: `--set`, and Python's dict of overrides."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from alignstudy.errors import SettingsError
from alignstudy.study.settings.yaml_file import Path_, YamlFile, parse_yaml, plain

Overrides = Sequence[str] | Mapping[str, Any]
"""Settings to change, by dotted key: `["seeds=[1]"]`, values in YAML, or `{"seeds": [1]}`."""


def override_texts(overrides: Overrides) -> tuple[str, ...]:
    """Write overrides as `--set` has them; JSON is YAML.

    Raises:
        SettingsError: If a value is none that a study file can hold.
    """
    if not isinstance(overrides, Mapping):
        return (overrides,) if isinstance(overrides, str) else tuple(overrides)
    values = plain(overrides, (), {}, "overrides")
    return tuple(f"{key}={_as_yaml(value)}" for key, value in values.items())


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
