"""A setting, and every way in which a user may write its key."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import cache

from alignstudy.metrics.axes import PUBLISHED

_AXES = "|".join(word for axis in PUBLISHED for word in (axis.name, axis.prompts, axis.quality))
_LABEL = r"\.[^.\[]+"
_INDEX = r"(\[\d*\]|\.\d+)?"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, or a section of them.

    Attributes:
        key: Its dotted key, as this module writes it.
        default: What holds where it is left out; "required" if it must be given.
        source: Whose name and meaning it is: a library's class, papers, or our own.
        spelling: A pattern of every way to write its key.
    """

    key: str
    type: str
    default: str
    meaning: str
    source: str
    spelling: str

    def to_json(self) -> dict[str, str]:
        """Return what is known of it."""
        return {name: text for name, text in asdict(self).items() if name != "spelling"}

    def holds(self, key: str) -> bool:
        """Whether a key is this one, or lies beneath it."""
        return key == self.key or key.startswith(self._stems)

    def is_called(self, key: str) -> bool:
        """Whether a user may write its key so."""
        return _compiled(self.spelling).fullmatch(key) is not None

    @property
    def _stems(self) -> tuple[str, str]:
        stem = self.key.removesuffix("[]")
        return f"{stem}.", f"{stem}["


@cache  # there are more of them than the library keeps
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@dataclass(frozen=True)
class Place:
    """A place in a study file: its key, and the pattern of every way to write that."""

    key: str = ""
    spelling: str = ""

    def at(self, name: str) -> Place:
        """Return the place of a key beneath this one."""
        dot = "." if self.key else ""
        return Place(f"{self.key}{dot}{name}", self.spelling + re.escape(f"{dot}{name}"))

    def items(self) -> Place:
        """Return the place of a list's items."""
        return Place(f"{self.key}[]", self.spelling + _INDEX)

    def of_kind(self, tag: str, kind: str) -> Place:
        """Return the place of the items of one kind."""
        stem = self.key.removesuffix("[]")
        return Place(f"{stem}[{tag}={kind}]", rf"{self.spelling}(\[{tag}={kind}\])?")

    def labels(self, name: str, *, may_be_left_out: bool) -> Place:
        """Return the place of a map's items; the map's key may be left out before known axes."""
        long = self.at(name)
        spelling = rf"{long.spelling}{_LABEL}"
        if may_be_left_out:
            spelling = rf"({spelling}|{self.spelling}\.({_AXES}))"
        return Place(f"{long.key}.NAME", spelling)
