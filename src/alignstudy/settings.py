"""The base of every settings class: frozen, strict, unknown keys refused."""

from __future__ import annotations

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


def as_yaml(value: Any) -> str:  # noqa: ANN401 - plain data
    """Return plain data as YAML, keys in their own order."""
    stream = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(value, stream)
    return stream.getvalue()
