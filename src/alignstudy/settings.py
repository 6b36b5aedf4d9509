"""The base of every settings class: frozen, strict, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Strict
from ruamel.yaml import YAML

T = TypeVar("T")

Many = Annotated[tuple[T, ...], Strict(False)]
"""A list in YAML, a tuple here: settings never change once they are read."""


class Settings(BaseModel):
    """Settings that a study file holds; compare, print and hash by value.

    Types are strict (a string is never taken for a number), numbers are finite, keys that no
    field names are refused.
    """

    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Fields that cannot change what comes out: a stage's key leaves them out."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


def by_axis(kind: type[Settings], field: str, given: object, *values: type) -> object:
    """Gather the keys that no field names in a mapping: they name axes.

    Whether a study has such axes is checked where all of it is known.

    Args:
        kind: The settings that are read.
        field: Its field that maps axes to settings.
        given: What the study file holds.
        values: What an axis' value can be: a key with another value is left, and is unknown.
    """
    if not isinstance(given, Mapping) or not isinstance(given.get(field, {}), Mapping):
        return given
    beside = {
        key: value
        for key, value in given.items()
        if key not in kind.model_fields and isinstance(value, values)
    }
    if not beside:
        return given
    rest = {key: value for key, value in given.items() if key not in beside}
    return {**rest, field: {**given.get(field, {}), **beside}}


def as_yaml(value: Any) -> str:  # noqa: ANN401 - plain data
    """Return plain data as YAML, keys in their own order."""
    stream = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(value, stream)
    return stream.getvalue()
