"""What a field's annotation allows, in words, and which settings classes it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from alignstudy.settings import Settings

_PLAIN = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    NoneType: "null",
    Any: "anything",
}
_LIMITS = {
    "gt": "above {}",
    "ge": "{} or more",
    "lt": "below {}",
    "le": "{} at most",
    "min_length": "at least {} long",
    "pattern": "as the pattern `{}`",
}


def type_in_words(annotation: Any, marks: Sequence[Any] = ()) -> str:  # noqa: ANN401
    """Write an annotation as a user reads it: `whole number (1 or more) or null`.

    Args:
        annotation: Of a field.
        marks: What limits it: pydantic's metadata.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(inner[0], [*inner[1:], *marks])
    if origin in (Union, UnionType):
        limited = [(each, () if each is NoneType else marks) for each in inner]
        return " or ".join(dict.fromkeys(type_in_words(each, limits) for each, limits in limited))
    elif origin is Literal:
        words = ("one of " if len(inner) > 1 else "") + ", ".join(map(str, inner))
    elif origin is dict:
        words = f"map of names to {type_in_words(inner[1])}"
    elif origin is tuple:
        number = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        each = re.sub(r"\b(number|section)\b", r"\1s", type_in_words(inner[0]))
        words = f"list of {number}{each}"
    else:
        words = _PLAIN.get(annotation, "section")
    limits = ", ".join(_limits(marks))
    return f"{words} ({limits})" if limits else words


def _limits(marks: Sequence[Any]) -> Iterator[str]:
    for mark in marks:
        if isinstance(mark, FieldInfo):
            yield from _limits(mark.metadata)
            continue
        found = {name: getattr(mark, name, None) for name in _LIMITS}
        yield from (_LIMITS[name].format(it) for name, it in found.items() if it is not None)


@dataclass(frozen=True, kw_only=True)
class Sections:
    """The settings classes that a value, or each item of it, can be.

    Attributes:
        container: What they are items of; "" if the value is such a section itself.
        tag: The key whose value says which of several it is.
    """

    kinds: tuple[type[Settings], ...] = ()
    container: Literal["", "list", "map"] = ""
    tag: str | None = None


def sections_in(annotation: Any, tag: str | None = None) -> Sections:  # noqa: ANN401
    """Find the settings classes in an annotation."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return Sections(kinds=(annotation,), tag=tag)
    if origin is Annotated:
        named = (str(each.discriminator) for each in inner[1:] if isinstance(each, FieldInfo))
        return sections_in(inner[0], next(named, tag))
    if origin in (Union, UnionType):
        kinds = [kind for each in inner for kind in sections_in(each).kinds]
        return Sections(kinds=tuple(kinds), tag=tag)
    if origin in (dict, tuple) and inner:
        found = sections_in(inner[1] if origin is dict else inner[0])
        container: Literal["list", "map"] = "map" if origin is dict else "list"
        return Sections(kinds=found.kinds, container=container, tag=found.tag)
    return Sections()
