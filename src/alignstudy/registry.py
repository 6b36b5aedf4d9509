"""Tables of names whose targets are imported only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from alignstudy.errors import UnknownNameError


class Registry(Mapping[str, str]):
    """An ordered table of name -> "module:object"; `load` imports one entry.

    Args:
        kind: What the names are ("method", "judge"): used in messages and by `alignstudy list`.
        targets: The table.
    """

    def __init__(self, kind: str, targets: Mapping[str, str]) -> None:
        self.kind = kind
        self._targets = dict(targets)

    def __getitem__(self, name: str) -> str:
        if name not in self._targets:
            raise UnknownNameError(self.kind, name, self._targets)
        return self._targets[name]

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def load(self, name: str) -> Any:  # noqa: ANN401 - each table documents what its targets are
        """Import the target of a name.

        Raises:
            UnknownNameError: If the table doesn't hold the name.
        """
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)

    def summary(self, name: str) -> str:
        """Return what the target says of itself: its `summary`, or its docstring's first line."""
        target = self.load(name)
        said = getattr(target, "summary", None)
        return said if isinstance(said, str) else (target.__doc__ or "").strip().split("\n", 1)[0]
