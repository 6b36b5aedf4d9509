"""What a stage's key is made of.

A stage is a frozen dataclass: its fields *are* its inputs and settings, so there is no second
list that could leave one out. Fields marked `not_in_key()` (a name for people, a place on this
disk) do not change what the stage makes and are left out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import Field, field, fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel

from alignstudy.redaction import told_apart
from alignstudy.sources import ResolvedSource

NOT_IN_KEY = {"not_in_key": True}
"""Metadata of a field that doesn't enter the key."""


def not_in_key(**options: Any) -> Any:  # noqa: ANN401 - stands for a field of any type
    """Mark a field that doesn't enter the key."""
    return field(metadata=NOT_IN_KEY, **options)


def fingerprint_value(value: object) -> Any:  # noqa: ANN401 - JSON
    """Write a field's value as JSON that holds everything that matters in it.

    Raises:
        TypeError: If the value is of a kind whose identity isn't defined here.
    """
    if isinstance(value, ResolvedSource):
        return value.digest
    if isinstance(value, BaseModel):
        left_out: set[str] = set(getattr(value, "not_in_key", ()))
        return fingerprint_value(value.model_dump(mode="json", exclude=left_out))
    key = getattr(value, "key", None)
    if is_dataclass(value) and isinstance(key, str):
        return key
    if value is None or isinstance(value, bool | int | float | str):
        plain = value.value if isinstance(value, Enum) else value
        return told_apart(plain) if isinstance(plain, str) else plain  # it is kept, and told
    if isinstance(value, tuple | list):
        return [fingerprint_value(item) for item in value]
    if isinstance(value, dict):
        return {str(name): fingerprint_value(item) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: fingerprint_value(getattr(value, item.name)) for item in key_fields(value)
        }
    raise TypeError(f"no identity is defined for {type(value).__name__}")


def key_fields(value: object) -> list[Field[Any]]:
    """Return the fields that enter the key."""
    return [item for item in fields(value) if not item.metadata.get("not_in_key")]  # type: ignore[arg-type]


def canonical(value: object) -> str:
    """Write JSON in the one way that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: object) -> str:
    """Hash JSON: 32 hexadecimal digits of its sha256."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]


def changes(before: Any, after: Any, path: str = "") -> list[str]:  # noqa: ANN401 - JSON
    """Return where the inputs of two fingerprints differ: `learning_rate 1e-05 -> 2e-05`."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        found = []
        for name in names:
            found += changes(before.get(name), after.get(name), f"{path}.{name}" if path else name)
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        items = enumerate(zip(before, after, strict=True))
        return [line for at, (old, new) in items for line in changes(old, new, f"{path}[{at}]")]
    if before == after:
        return []
    return [f"{path} {_brief(before)} -> {_brief(after)}"]


def _brief(value: Any) -> str:  # noqa: ANN401 - JSON
    text = "none" if value is None else value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else text[:57] + "..."
