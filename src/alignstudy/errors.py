"""Every error that alignstudy raises on purpose, and the exit code of each.

AlignstudyError                 what failed, why, how to fix it, what was kept
 |- InputError            (2)   the user's input
 |   |- SettingsError           a study file, or `--set`
 |   |- UnknownNameError        a name that no table holds
 |   |- DataError               preference data, prompts, responses
 |   `- MetricError             a metric that is not defined on these numbers
 |- EnvironmentFault      (3)   disk, memory, network, permission
 |   |- LockHeldError           another process works on this run
 |   |- WorkerEndedError        a process that work was spread over was killed
 |   `- NotFetchedError         a hub id that is not at hand
 |- DamagedArtefactError  (4)   a file whose hash is not the recorded one
 |- GuardError            (5)   a guard refused: a number would have been silently wrong
 `- InterruptedRunError   (75)  stopped in good order: run the same command again

Anything else that escapes is our bug: exit code 1, and the only traceback a user ever sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from typing import ClassVar

from alignstudy.redaction import redacted

LONGEST = 1_800
"""Characters of what, why, hint and kept together, at most: a refusal is read, not searched."""

LIKELY = 200
"""Names that one is compared with, at most, to say which was meant."""

SHORT = 4
"""Letters of a method's name up to which one letter more or less makes another method."""


class AlignstudyError(Exception):
    """An error that the user can read and act upon.

    Args:
        what: What failed, and where: `file:line`, row, key.
        why: The reason, in words; empty where `what` is enough.
        hint: What to do now.
        kept: What was kept: what a second run need not do again.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "", kept: str = "") -> None:
        self.what, self.why, self.hint, self.kept = what, why, hint, kept
        super().__init__(self.what)

    def __setattr__(self, name: str, value: object) -> None:
        """Set a part of the message, secrets taken out and cut where nobody would read on."""
        if isinstance(value, str):  # first to more than is kept: no secret is cut in two
            value = shortened(redacted(shortened(value, 4 * LONGEST)), LONGEST)
        super().__setattr__(name, value)

    @property
    def parts(self) -> dict[str, str]:
        """What, why, hint and kept as they are told: short ones whole, long ones share the rest."""
        names = ("what", "why", "hint", "kept")
        given = {name: str(getattr(self, name)) for name in names}
        left, told = LONGEST, dict.fromkeys(given, "")
        for before, name in enumerate(sorted(given, key=lambda name: len(given[name]))):
            told[name] = shortened(given[name], left // (len(given) - before))
            left -= len(told[name])
        return told

    def __str__(self) -> str:
        what, *rest = self.parts.items()
        return "\n".join([what[1], *(f"  {name}: {text}" for name, text in rest if text)])

    @property
    def in_a_line(self) -> str:
        """What failed, why and what to do, for a list of faults."""
        told = self.parts
        return "; ".join(
            filter(None, [first_line(Exception(told["what"])), told["why"], told["hint"]])
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.why, self.hint, self.kept))


@contextmanager
def due_to(*keys: str) -> Iterator[None]:
    """Name the study file's keys that a fault of the data is due to, if nothing within did.

    Raises:
        DataError: As it was raised, with its `keys`.
    """
    try:
        yield
    except DataError as error:
        error.keys = error.keys or keys
        raise


def shortened(text: str, most: int) -> str:
    """Return a text, its middle left out where it has more than `most` characters."""
    if len(text) <= most:
        return text
    start = 2 * (most - 5) // 3
    return f"{text[:start]} ... {text[start + 5 - most :]}"


def listed(items: Iterable[str], *, between: str, most: int, more: int = 0) -> str:
    """Join items while they fit into `most` characters; the rest is counted.

    Args:
        items: What is listed.
        between: Stands between two.
        most: Characters of what is listed, about.
        more: Items that aren't among them.
    """
    told: list[str] = []
    for item in items:
        most -= len(item) + len(between)
        if most < 0 and told:
            more += 1
        else:
            told.append(item)
    return between.join([*told, *([f"... and {more} more"] if more else [])])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _rebuild(kind: type[AlignstudyError], what: str, why: str, hint: str, kept: str) -> Exception:
    """Rebuild an error that crossed a process border."""
    error = kind.__new__(kind)
    AlignstudyError.__init__(error, what, why=why, hint=hint, kept=kept)
    return error


class InputError(AlignstudyError):
    """The user's input is at fault."""

    exit_code = 2


class SettingsError(InputError):
    """A study file, a preset or a `--set` that can't be accepted."""


class DataError(InputError):
    """Preference data, prompts or responses that can't be used.

    Args:
        what: As of every error; why, hint and kept as well.
        keys: The study file's keys that it is due to; empty where they aren't known.
    """

    def __init__(self, what: str, *, keys: tuple[str, ...] = (), **words: str) -> None:
        self.keys = keys
        super().__init__(what, **words)

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__(), {"keys": self.keys})


class MetricError(InputError):
    """A quantity that is not defined on what it was given."""


class UnknownNameError(InputError):
    """A name that its table doesn't hold; the nearest one is offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        names = sorted(known)
        is_method = kind in ("method", "loss")
        meant = likely_meant(name, names) if is_method else nearest(name, names)
        super().__init__(
            f"{where + ': ' if where else ''}unknown {kind} '{shortened(name, 200)}'",
            why=f"known: {listed(names, between=', ', most=1_000) or 'none'}",
            hint=f"did you mean '{meant}'?" if meant else "name one of those",
        )


def likely_meant(name: str, known: Iterable[str]) -> str | None:
    """Return the method or loss that a name is a misspelling of; None if it may be another.

    Methods' names are short and alike: `grpo` is not `rpo`, nor `ppo` `dpo`. A name that differs
    in more than case, signs between words and the order of letters must be long, and very near.
    """
    names = list(known)
    bare = {each: sorted(each.lower().replace("_", "").replace("-", "")) for each in names}
    own = sorted(name.lower().replace("_", "").replace("-", "").replace(" ", ""))
    same = next((each for each in names if bare[each] == own), None)
    if same is not None or len(own) <= SHORT:
        return same
    long = [each for each in names if len(bare[each]) > SHORT]
    return next(iter(get_close_matches(name, long, n=1, cutoff=0.8)), None)


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like another one; None: none is like it.

    Of very many only the first that have about its length are compared, one by one.
    """
    alike = (each for each in known if cutoff * len(name) <= (2 - cutoff) * len(each))
    near = (each for each in alike if cutoff * len(each) <= (2 - cutoff) * len(name))
    return next(iter(get_close_matches(name, islice(near, LIKELY), n=1, cutoff=cutoff)), None)


class EnvironmentFault(AlignstudyError):
    """Disk, memory, network or permissions are at fault."""

    exit_code = 3


class LockHeldError(EnvironmentFault):
    """Another process works on the same run."""


class WorkerEndedError(EnvironmentFault):
    """A process that work was spread over ended before its work did."""


class NotFetchedError(EnvironmentFault):
    """A hub id whose files are not on this machine and can't be fetched now."""


class DamagedArtefactError(AlignstudyError):
    """A stored file is not what was written."""

    exit_code = 4


class GuardError(AlignstudyError):
    """A guard refused to go on: what follows would have been silently wrong."""

    exit_code = 5


class InterruptedRunError(AlignstudyError):
    """The run was stopped in good order and can be continued by the same command."""

    exit_code = 75
