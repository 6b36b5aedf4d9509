"""Where a rating starts to count: as given, as the run has it, or chosen on labelled ratings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alignstudy.analysis.results import Thresholds
from alignstudy.data.files.kinds import rows_of
from alignstudy.data.ratings.rated import Rated
from alignstudy.errors import DataError, InputError
from alignstudy.formatting import count, listing, short
from alignstudy.judges.quality.calibrate import threshold_between
from alignstudy.metrics.axes import axis_named
from alignstudy.records import DECIMALS, Axis

GIVEN, PUBLISHED_ONES = "given", "the published study's"

Limit = tuple[float, str]
"""A threshold, and where it comes from."""


@dataclass(frozen=True, kw_only=True)
class LimitSources:
    """Where thresholds may come from, the first that has one first.

    Attributes:
        asked: `AXIS` or `AXIS@JUDGE` -> number.
        own: Judge -> thresholds of the run that the ratings lie in.
        calibration: A file of labelled ratings; None for none.
        is_published: Whether the ratings are the published study's, which has thresholds.
    """

    asked: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, Thresholds] = field(default_factory=dict)
    calibration: Path | None = None
    is_published: bool = False


def thresholds_of(
    rated: Rated, axes: Sequence[Axis], sources: LimitSources
) -> dict[str, Thresholds]:
    """Return each judge's thresholds; an axis for which nobody says one has none, and no rate.

    Raises:
        InputError: If one is asked for an axis or judge that isn't there, or asked for twice.
        DataError: If labelled ratings can't be used.
    """
    judges = list(dict.fromkeys(name for row in rated.rows for name in row.scores))
    asked = _asked(sources.asked, judges, axes)
    chosen: dict[tuple[str, str], Limit] = {}
    if sources.calibration is not None:
        chosen = _calibrated(sources.calibration, judges, axes, asked)
    found = {}
    for judge in judges:
        theirs = sources.own.get(judge)
        limits: dict[str, Limit] = {}
        for axis in axes:
            known = theirs.of(axis.name) if theirs is not None else None
            given = asked.get((judge, axis.name)) or chosen.get((judge, axis.name))
            if given is not None:
                limits[axis.name] = given
            elif theirs is not None and known is not None:
                limits[axis.name] = known, theirs.origin.get(axis.name, "the run's")
            elif sources.is_published and axis.threshold is not None:
                limits[axis.name] = axis.threshold, PUBLISHED_ONES
            elif theirs is None and axis.name in rated.thresholds:
                limits[axis.name] = rated.thresholds[axis.name]
        as_given = None if not sources.is_published else DECIMALS
        found[judge] = Thresholds(
            values={axis: value for axis, (value, _) in limits.items()},
            inclusive=theirs is not None and theirs.inclusive,
            origin={axis: origin for axis, (_, origin) in limits.items()},
            empty_fails=theirs.empty_fails if theirs is not None else (),
            decimals=theirs.decimals if theirs is not None else as_given,
        )
    _refuse_idle(rated, {**asked, **chosen}, found)
    return found


def _asked(
    given: Mapping[str, float], judges: Sequence[str], axes: Sequence[Axis]
) -> dict[tuple[str, str], Limit]:
    """Return what was asked for by (judge, axis); one judge's goes before all judges'."""
    names = [axis.name for axis in axes]
    found: dict[tuple[str, str], Limit] = {}
    for key in sorted(given, key=lambda key: "@" in key):
        word, _, judge = key.partition("@")
        axis = axis_named(word).name
        if axis not in names:
            raise InputError(
                f"a threshold is given for '{word}', and no response is on that axis",
                hint=f"name one of: {', '.join(names)}",
            )
        if judge and judge not in judges:
            raise InputError(
                f"a threshold is given for the judge '{judge}', who rated nothing here",
                hint=f"name one of: {', '.join(judges)}",
            )
        found |= {(name, axis): (given[key], GIVEN) for name in ([judge] if judge else judges)}
    return found


def _calibrated(
    path: Path,
    judges: Sequence[str],
    axes: Sequence[Axis],
    asked: Mapping[tuple[str, str], Limit],
) -> dict[tuple[str, str], Limit]:
    """Choose thresholds on a file of labelled ratings; one that is `asked` for is refused."""
    found = {}
    for (judge, name), (passing, failing) in _labelled(path, judges, axes).items():
        if (judge, name) in asked:
            raise InputError(
                f"the threshold of {name} is given, and {path} would choose another",
                hint="leave one of them out",
            )
        if not passing or not failing:
            raise DataError(
                f"{path}: {axis_named(name).prompts} prompts have no"
                f" {'good' if not passing else 'bad'} answer",
                why="a threshold is chosen between good answers and bad ones",
            )
        value, accuracy = threshold_between(passing, failing)
        found[judge, name] = (
            value,
            f"calibrated: balanced accuracy {100 * accuracy:.1f}% on"
            f" {count(len(passing) + len(failing))} labelled ratings",
        )
    return found


def _labelled(
    path: Path, judges: Sequence[str], axes: Sequence[Axis]
) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Read by (judge, axis) the ratings of answers that should pass, and of those that shouldn't.

    A row has `rating` and `label`, or the ratings of a pair's `chosen` and `rejected` answers;
    `axis` where there are several, `judge` where it isn't the leading one.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="name a file of labelled ratings")
    names = {axis.name for axis in axes}
    ends: dict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for number, row in rows_of(path, name=str(path)):
        where = f"{path}: row {number}"
        if isinstance(row, str):
            raise DataError(f"{where}: can't be read", why=row)
        word = str(row.get("axis") or (axes[0].name if len(axes) == 1 else ""))
        axis, judge = axis_named(word), str(row.get("judge") or judges[0])
        if axis.name not in names or judge not in judges:
            raise DataError(
                f"{where}: axis '{word}', judge '{judge}'",
                why="one of them has no rating here",
                hint=f"axes: {', '.join(names)}; judges: {', '.join(judges)}",
            )
        passing, failing = ends[judge, axis.name]
        if "label" in row:
            side = passing if _is_good(row["label"], axis, where) else failing
            side.append(_score(row, "rating", where))
        else:
            passing.append(_score(row, "chosen", where))
            failing.append(_score(row, "rejected", where))
    return ends


def _is_good(label: object, axis: Axis, where: str) -> bool:
    """Read a label: a yes or no in one of the usual words, or the axis' own."""
    word = str(label).strip().lower()
    if word in {"1", "1.0", "true", "yes", "good", "pass", "passed", "chosen", axis.passes}:
        return True
    if word in {"0", "0.0", "false", "no", "bad", "fail", "failed", "rejected", axis.fails}:
        return False
    raise DataError(
        f"{where}: label {str(label)[:40]!r}",
        hint=f"write good or bad, 1 or 0, {axis.passes} or {axis.fails}",
    )


def _score(row: Mapping[str, object], name: str, where: str) -> float:
    """Read a rating of a row, which a table may give as text."""
    try:
        value = float(str(row[name]))
    except (KeyError, ValueError):
        value = float("nan")
    if not abs(value) < float("inf"):
        raise DataError(
            f"{where}: {name} is {str(row.get(name))[:40]!r}, no number",
            hint="a row has rating and label, or the ratings chosen and rejected",
        )
    return value


def _refuse_idle(
    rated: Rated, chosen: Mapping[tuple[str, str], Limit], found: Mapping[str, Thresholds]
) -> None:
    """Refuse a threshold given now that all responses on its axis pass, or none.

    Raises:
        InputError: With the range of the ratings.
    """
    for judge, axis in chosen:
        scores = [
            score
            for row in rated.rows
            if row.axis == axis and (score := row.scores.get(judge)) is not None
        ]
        passed = {found[judge].passes(axis, score) for score in scores}
        if len(passed) == 1:
            value, origin = chosen[judge, axis]
            several = len(found) > 1
            raise InputError(
                f"threshold {short(value, 4)} ({origin}): {'all' if passed.pop() else 'none'} of"
                f" the {count(len(scores))} responses to {axis_named(axis).prompts} prompts pass",
                why=f"the ratings{f' by {judge}' if several else ''} run from"
                f" {short(min(scores), 4)} to {short(max(scores), 4)}: a rate would say nothing",
                hint=f"give --threshold {axis}{f'@{judge}' if several else ''}=NUMBER between them,"
                " or none: mean scores are compared without one",
            )


def without_threshold(found: Mapping[str, Thresholds], axes: Sequence[Axis]) -> Iterator[str]:
    """Say what is left out for want of a threshold of the leading judge."""
    limits = found[next(iter(found))]
    bare = [axis for axis in axes if limits.of(axis.name) is None]
    if bare:
        yield (
            f"no threshold was given for {listing([axis.prompts for axis in bare])} prompts: mean"
            " scores are compared there, and pass rates left out (to have them: --threshold"
            f" {bare[0].name}=NUMBER, or --calibrate FILE with labelled ratings)"
        )
