"""How long work shows its progress; the command line draws it, the API stays silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """What a layer function may report while it works."""

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a piece of work of `total` steps (None: not known)."""

    def advance(self, done: int, **figures: float) -> None:
        """Report that `done` more steps are finished; figures: loss, tokens/s."""

    def finish(self) -> None:
        """End the current piece of work."""

    def note(self, text: str) -> None:
        """Print one line that should stay on the screen."""


class Silent:
    """Shows nothing."""

    def start(self, what: str, total: int | None = None) -> None:
        """Do nothing."""

    def advance(self, done: int, **figures: float) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


SILENT = Silent()


class NotesTo(Silent):
    """Passes notes on, and nothing else.

    Args:
        note: Called with each.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def note(self, text: str) -> None:
        """Pass the note on."""
        self._note(text)
