"""How long work shows its progress: drawn on a command line, in lines in a notebook, else not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol

SECONDS_BETWEEN_LINES = 20.0


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


class Lines:
    """Writes notes as lines, and for long work one now and then.

    Args:
        write: Called with each line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._what, self._total, self._done, self._written = "", 0, 0, 0.0

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a piece of work."""
        self._what, self._total, self._done, self._written = what, total or 0, 0, monotonic()

    def advance(self, done: int, **figures: float) -> None:
        """Write how far it is, if the last line is long ago."""
        self._done += done
        if monotonic() - self._written > SECONDS_BETWEEN_LINES:
            self._written = monotonic()
            self._write(f"{self._what}: {self._done}/{self._total}  {figures_in_words(figures)}")

    def finish(self) -> None:
        """End the piece of work."""

    def note(self, text: str) -> None:
        """Write a line."""
        self._write(text)


def figures_in_words(figures: Mapping[str, float]) -> str:
    """Write figures short: `loss 0.6931  tokens/s 1,024`."""
    return "  ".join(
        f"{name} {value:,.0f}" if abs(value) >= 100 else f"{name} {value:.4g}"
        for name, value in figures.items()
    )


def default_progress() -> Progress:
    """Return what shows progress where nobody says: lines in a Jupyter notebook, else nothing."""
    ipython = sys.modules.get("IPython")  # a notebook's kernel has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    if not any(each.__name__ == "ZMQInteractiveShell" for each in type(shell).__mro__):
        return SILENT
    return Lines(lambda line: print(line, flush=True))  # noqa: T201 - a notebook's output


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
