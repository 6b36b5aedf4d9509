"""How long work tells that it is alive; the command line draws it, the API stays silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a layer function may tell while it works."""

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a piece of work of `total` steps (None: not known)."""

    def advance(self, done: int, **figures: float) -> None:
        """Say that `done` steps of the current piece are finished; figures: loss, tokens/s."""

    def finish(self) -> None:
        """End the current piece of work."""

    def note(self, text: str) -> None:
        """Say one line that should stay on the screen."""


class Silent:
    """Says nothing."""

    def start(self, what: str, total: int | None = None) -> None:
        """Say nothing."""

    def advance(self, done: int, **figures: float) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


SILENT = Silent()


class NotesOnly:
    """Passes notes on, and nothing else: for work inside or beside that which is shown."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def start(self, what: str, total: int | None = None) -> None:
        """Say nothing."""

    def advance(self, done: int, **figures: float) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Pass the note on."""
        self._outer.note(text)


def beside(progress: Progress) -> Progress:
    """Return what shows a second piece of work while the first goes on.

    Args:
        progress: If it has a method `another`, that gives it; else only notes are shown.
    """
    another = getattr(progress, "another", None)
    found: Progress = NotesOnly(progress) if another is None else another()
    return found
