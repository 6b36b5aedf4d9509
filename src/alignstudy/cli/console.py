"""Output of the command line: tables, a live progress bar, errors without a traceback."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from alignstudy.errors import AlignstudyError
from alignstudy.progress import Lines, Progress, figures_in_words
from alignstudy.redaction import redacted, redacted_in

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

WIDTH_IN_FILES = 10_000

_PLAIN = {"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u2026": "...", "\u2019": "'"}
"""Our own signs, for terminals that have none of them."""

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def fit_terminal() -> None:
    """Let output be written in any encoding: what it lacks is spelled by its number."""
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="spelled")


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for the first character that an encoding lacks, and where to go on."""
    if isinstance(error, UnicodeEncodeError):
        sign = _PLAIN.get(error.object[error.start])
        if sign is not None:
            return sign, error.start + 1
        alone = UnicodeEncodeError(
            error.encoding, error.object, error.start, error.start + 1, error.reason
        )
        return codecs.backslashreplace_errors(alone)
    raise error


def safe(text: object) -> str:
    """Make text that a model or a file wrote safe to print in a terminal, secrets taken out."""
    return escape(_CONTROL.sub("?", redacted(str(text))))


def say(text: str) -> None:
    """Print a line of our own (rich markup allowed)."""
    out.print(text)


def say_json(value: Any) -> None:  # noqa: ANN401 - JSON
    """Print JSON for scripts: nothing but it goes to standard output."""
    plain = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(redacted_in(value), indent=2, ensure_ascii=plain)
    sys.stdout.write(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def say_error(error: AlignstudyError) -> None:
    """Print what failed, why, how to fix it, what was kept."""
    what, *parts = error.parts.items()
    err.print(f"[bold red]error:[/] {safe(what[1])}")
    for name, text in parts:
        if text:
            lines = text.splitlines()
            err.print(f"  [bold]{name}:[/] {safe(lines[0])}")
            for line in lines[1:]:
                err.print(f"        {safe(line)}")


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table; cells are shown whole, on one line each where no terminal limits it."""
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(safe(cell) for cell in row))
    for column in table.columns:
        column.overflow = "fold"
    Console(highlight=False, width=None if out.is_terminal else WIDTH_IN_FILES).print(table)


class Bar:
    """Progress on a terminal: one live line with loss, speed and time left, notes above it."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._figures = ""

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a piece of work."""
        self.finish()
        self._figures = ""
        self._task = self._bar.add_task(safe(what), total=total, figures="")

    def advance(self, done: int, **figures: float) -> None:
        """Move on by `done` steps."""
        if self._task is not None:
            self._figures = figures_in_words(figures) or self._figures
            self._bar.update(self._task, advance=done, figures=self._figures)

    def finish(self) -> None:
        """End the piece of work."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = None

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._bar.console.print(f"  {safe(text)}")


@contextmanager
def progress() -> Iterator[Progress]:
    """Show progress on standard error while the block runs; in lines where it is no terminal."""
    if not err.is_terminal:
        yield Lines(lambda line: err.print(f"  {safe(line)}"))
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=err, transient=True) as bar:
        yield Bar(bar)
