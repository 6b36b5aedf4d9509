"""Judges that the user writes: any Python function from dialogues to numbers."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

from alignstudy.errors import GuardError, InputError
from alignstudy.judges.base import JudgeScore
from alignstudy.judges.kinds.python_source import PythonSettings, local_modules, module_file
from alignstudy.progress import SILENT, Progress
from alignstudy.records import LARGEST_SCORE

Rate = Callable[[list[tuple[str, str]]], Sequence[float | None]]

_SHOWN = 200
"""Characters of a response that a message shows."""


class PythonJudge:
    """Scores with a function of the user's; what it returns is checked, never fixed."""

    name = "python"
    settings: ClassVar[type[PythonSettings]] = PythonSettings

    def __init__(self, settings: PythonSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._rate = _imported(settings.call, folder)
        self._sign = 1.0 if settings.better == "higher" else -1.0

    @classmethod
    def build(cls, settings: PythonSettings, folder: Path | None, device: str) -> Self:
        """Import the function; it chooses its device itself.

        Args:
            settings: Name the function.
            folder: Where modules are looked for first; None: the current folder.
            device: Not used.

        Raises:
            InputError: If there is no such module or function, or importing it fails.
        """
        return cls(settings, folder or Path.cwd())

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs.

        Raises:
            GuardError: If the function raises, or gives another number of scores, or anything
                that is no number; the item is named.
        """
        progress.start("judge", total=len(items))
        scores: list[JudgeScore] = []
        for start in range(0, len(items), self._settings.batch_size):
            batch = list(items[start : start + self._settings.batch_size])
            given = self._given(batch, start)
            scores += [self._checked(x, batch[at], start + at) for at, x in enumerate(given)]
            progress.advance(len(batch))
        progress.finish()
        return scores

    def rendered(self, prompt: str, response: str) -> str:
        """Return what the function is called with."""
        return repr((prompt, response))

    def _given(self, batch: list[tuple[str, str]], start: int) -> list[Any]:
        """Call the function once; refuse what isn't one answer a pair."""
        call, last = self._settings.call, start + len(batch) - 1
        try:
            given = self._called(batch)
        except Exception as error:  # a user's function may raise anything
            at, cause = self._culprit(batch, error)
            where = f"items {start} to {last}" if at is None else _shown(start + at, batch[at])
            raise GuardError(
                f"{call} failed on {where}",
                why=f"{type(cause).__name__}: {cause}",
                hint="fix the function, or return None where it has no score",
            ) from error
        if not isinstance(given, list | tuple):
            what = f"a {type(given).__name__} instead of a list"
            raise self._refused(what, f"items {start} to {last}")
        if len(given) != len(batch):
            what = f"{len(given)} scores for {len(batch)} pairs"
            raise self._refused(what, f"items {start} to {last}, from {_shown(start, batch[0])}")
        return list(given)

    def _called(self, batch: list[tuple[str, str]]) -> object:
        """Call the function; an array becomes a list."""
        with _looked_for_in(self._folder):  # it may import when it is called
            given = self._rate(list(batch))
        return given.tolist() if hasattr(given, "tolist") else given

    def _culprit(
        self, batch: list[tuple[str, str]], error: Exception
    ) -> tuple[int | None, Exception]:
        """Find the first pair that fails by itself; None if only all together do."""
        for at, item in enumerate(batch):
            try:
                self._called([item])
            except Exception as alone:
                return at, alone
        return None, error

    def _checked(self, given: object, item: tuple[str, str], at: int) -> JudgeScore:
        """Turn an answer into a score; one that is not finite is a missing one."""
        if given is None:
            return JudgeScore(score=None, failure=f"{self._settings.call} gave no score")
        if not isinstance(given, Real) or isinstance(given, bool):
            raise self._refused(f"{given!r:.80} ({type(given).__name__})", _shown(at, item))
        try:
            number = float(given)
        except OverflowError:
            number = math.inf
        if not abs(number) <= LARGEST_SCORE:  # nor NaN
            return JudgeScore(score=None, failure=f"{self._settings.call} gave {number}")
        return JudgeScore(score=self._sign * number)

    def _refused(self, what: str, where: str) -> GuardError:
        return GuardError(
            f"{self._settings.call} gave {what}, for {where}",
            why="a judge gives one number (float or int) a pair, in their order, or None",
            hint="fix the function",
        )


def _shown(at: int, item: tuple[str, str]) -> str:
    """Name an item by its place and its response."""
    text = item[1] if len(item[1]) <= _SHOWN else item[1][:_SHOWN] + "..."
    return f"item {at} (response {text!r})"


def _imported(call: str, folder: Path) -> Rate:
    """Import a function, its module read again from the folder if it lies there."""
    module_name, _, name = call.partition(":")
    wanted = module_file(module_name, folder)
    with _looked_for_in(folder):
        # What was imported of a judge's own files, here or in another study's folder, is forgotten.
        names = {part.partition(".")[0] for part in local_modules(module_name, folder)}
        places = (Path(sys.prefix), Path(sys.base_prefix), Path(importlib.__file__).parents[1])
        installed = [place.resolve() for place in places]
        for part in [part for part in sys.modules if part.partition(".")[0] in names]:
            file = getattr(sys.modules[part], "__file__", None)
            if file and not any(map(Path(file).resolve().is_relative_to, installed)):
                del sys.modules[part]
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # a user's module may raise anything
            raise InputError(
                f"the judge's module '{module_name}' can't be imported",
                why=f"{type(error).__name__}: {error}",
                hint=f"fix {wanted}",
            ) from error
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != wanted:
        raise InputError(
            f"the judge's module '{module_name}' is not {wanted}",
            why=f"another module of that name was imported before: {found or 'a built-in one'}",
            hint="give your module another name",
        )
    rate = getattr(module, name, None)
    if not callable(rate):
        raise InputError(
            f"{wanted} has no function '{name}'", hint="name one that it defines, module:function"
        )
    checked: Rate = rate
    return checked


@contextmanager
def _looked_for_in(folder: Path) -> Iterator[None]:
    """Make imports look into a folder first, and leave no bytecode behind."""
    written = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    # Bytecode is matched to its source by time and size: a quick edit would go unseen.
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = written
