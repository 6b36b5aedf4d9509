"""How long work shows its progress; the command line draws it, the API stays silent."""

from __future__ import annotations

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


class NotesOnly(Silent):
    """Passes notes on, and nothing else: for work inside or next to that which is shown."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def note(self, text: str) -> None:
        """Pass the note on."""
        self._outer.note(text)


def beside(progress: Progress) -> Progress:
    """Return what shows a second piece of work while the first goes on.

    Args:
        progress: Its method `another` makes it, if it has one; else only notes are shown.
    """
    another = getattr(progress, "another", None)
    found: Progress = NotesOnly(progress) if another is None else another()
    return found
