"""Responses that already have ratings, as the published study and alignstudy's runs leave them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.errors import DataError, EnvironmentFault, InputError
from alignstudy.metrics.axes import PUBLISHED, axes_of, axis_named
from alignstudy.records import DECIMALS, LARGEST_SCORE, ScoredResponse, StopReason

JUDGE = "rating"
"""The judge's name in what `read_ratings` gives: files don't say whose ratings they hold."""

_NAME = re.compile(r"(?:(?P<order>\d+)_)?(?P<model>.+)_(?P<prompts>[A-Za-z][A-Za-z0-9-]*)\.json")


@dataclass(frozen=True)
class _File:
    path: Path
    order: float
    model: str
    axis: str


def read_ratings(folder: Path) -> list[ScoredResponse]:
    """Read `<model>_<prompts>.json` files with ratings: the last word names the axis.

    A leading number (`1_base_<prompts>.json`) orders the models; without one, `base` comes first
    and the others follow by name. Rows need `prompt`, `response` and `rating`; `seed`, `prompt_id`,
    `num_tokens`, `stop_reason` and `raw_response` are read where they are. A prompt's id is made of
    its text, and of a number where it is asked more than once, unless every row names one. Where
    every row has `scores` (judge -> score, as alignstudy writes them), all those judges are read,
    the one whose rounded score is the `rating` first.

    Args:
        folder: The folder that holds the files.

    Returns:
        The rows of all models, scored by the judge "rating", or by those of `scores`.

    Raises:
        InputError: If the folder doesn't exist or holds no such file.
        DataError: If a file or a row can't be used; the message names both.
        EnvironmentFault: If a file can't be read.
    """
    files = _files(folder)
    rows = [(file, _rows(file.path)) for file in files]
    for axis in dict.fromkeys(file.axis for file in files):
        on_axis = [row for file, found in rows if file.axis == axis for row in found]
        named = [row.get("prompt_id") is not None for row in on_axis]
        if not all(named):
            for row in on_axis:
                row.pop("prompt_id", None)
    judges = _judges(folder, [row for _, found in rows for row in found])
    return [response for file, found in rows for response in _responses(file, found, judges)]


def _judges(folder: Path, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the judges whose scores every row has, the one that made the ratings first.

    Raises:
        DataError: If no judge's scores are the ratings.
    """
    found: list[dict[str, Any]] = [row.get("scores") or {} for row in rows]
    if not all(found):
        return (JUDGE,)
    names = [name for name in found[0] if all(name in scores for scores in found)]
    leading = [
        name for name in names if all(_rounds(row["scores"][name], row["rating"]) for row in rows)
    ]
    if not leading:
        raise DataError(
            f"{folder}: no judge in `scores` gave the ratings",
            why="each row's rating is its leading judge's score, rounded to four decimals",
            hint="write the rows as alignstudy does, or leave `scores` out",
        )
    others = dict.fromkeys(name for scores in found for name in scores)
    return (leading[0], *(name for name in others if name != leading[0]))


def _rounds(score: float | None, rating: float | None) -> bool:
    """Whether a rating is a score, rounded, or neither is there."""
    if score is None or rating is None:
        return score is rating
    return bool(abs(round(float(score), DECIMALS) - rating) < 10.0**-DECIMALS / 2)


def find_base(responses: Sequence[ScoredResponse], asked: str | None = None) -> str | None:
    """Return the base model: the one asked for, else "base" if there is one, else None.

    Raises:
        InputError: If the one asked for is not among the models.
    """
    models = list(dict.fromkeys(row.model for row in responses))
    if asked is not None and asked not in models:
        raise InputError(
            f"the base '{asked}' is not among the models",
            hint=f"choose one of: {', '.join(models)}",
        )
    return asked or ("base" if "base" in models else None)


def _files(folder: Path) -> list[_File]:
    """List the files of ratings in the order of their models."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", hint="name the folder of the rated responses")
    found = [
        _File(
            path,
            float(mark["order"] or math.inf),
            mark["model"],
            axis_named(mark["prompts"]).name,
        )
        for path in folder.iterdir()
        if (mark := _NAME.fullmatch(path.name))
    ]
    if not found:
        inside = (folder / "responses").is_dir()
        raise InputError(
            f"{folder}: no rated responses",
            why="files are named <model>_<prompts>.json, by the word for their prompts: "
            f"{' or '.join(axis.prompts for axis in PUBLISHED)}, or any other",
            hint=f"try {folder / 'responses'}" if inside else "name the folder that holds them",
        )
    axes = [axis.name for axis in axes_of(file.axis for file in found)]
    found.sort(
        key=lambda file: (file.order, file.model != "base", file.model, axes.index(file.axis))
    )
    for (model, axis), count in Counter((file.model, file.axis) for file in found).items():
        if count > 1:
            raise DataError(
                f"{folder}: {count} files of {axis_named(axis).prompts} responses of the model"
                f" '{model}'",
                why="numbers before a model's name only order the models",
                hint="rename one of them",
            )
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file and check each."""
    try:
        rows = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be read", why=str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON in UTF-8", why=str(error)) from error
    if not isinstance(rows, list) or not rows:
        raise DataError(
            f"{path}: no rows",
            why="a JSON list of {prompt, response, rating} is expected",
            hint="write one object a response",
        )
    for number, row in enumerate(rows, start=1):
        fault = _fault(row)
        if fault:
            raise DataError(
                f"{path}: row {number}: {fault}",
                hint="each row has prompt and response (text) and rating (a number of usual size)",
            )
    return rows


def _fault(row: object) -> str:
    """Return what is wrong with a row; empty if nothing is."""
    if not isinstance(row, dict):
        return "not an object"
    missing = [key for key in ("prompt", "response", "rating") if key not in row]
    if missing:
        return f"no {', '.join(missing)}"
    scores, value = row.get("scores"), row["rating"]
    given = scores.values() if isinstance(scores, dict) else ()
    are_numbers = all(score is None or _is_score(score) for score in given)
    checks = {
        "prompt": isinstance(row["prompt"], str),
        "response": isinstance(row["response"], str),
        # Our own files, which say `scores`, write null where a judge gave no finite score.
        "rating": _is_score(value) or (value is None and isinstance(scores, dict)),
        "seed": _is_count(row.get("seed", 0)),
        "prompt_id": isinstance(row.get("prompt_id"), str | None),
        "num_tokens": row.get("num_tokens") is None or _is_count(row["num_tokens"]),
        "stop_reason": row.get("stop_reason") in (None, *(str(item) for item in StopReason)),
        "raw_response": isinstance(row.get("raw_response"), str | None),
        "scores": isinstance(scores, dict | None) and are_numbers,
    }
    bad = [f"{key} is {str(row.get(key))[:40]!r}" for key, good in checks.items() if not good]
    return ", ".join(bad)


def _is_score(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST_SCORE


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _responses(
    file: _File, rows: Sequence[dict[str, Any]], judges: Sequence[str]
) -> list[ScoredResponse]:
    occurrences: Counter[tuple[int, str]] = Counter()
    found = []
    for row in rows:
        seed, prompt = row.get("seed", 0), row["prompt"]
        occurrences[seed, prompt] += 1
        given = {JUDGE: row["rating"]} if tuple(judges) == (JUDGE,) else row["scores"]
        scores = {name: given[name] for name in judges if name in given}
        named = row.get("prompt_id") or prompt_id(file.axis, prompt, occurrences[seed, prompt])
        found.append(
            ScoredResponse(
                model=file.model,
                seed=seed,
                prompt_id=named,
                axis=file.axis,
                prompt=prompt,
                response=row["response"],
                scores={n: None if s is None else float(s) for n, s in scores.items()},
                num_tokens=row.get("num_tokens"),
                stop_reason=row.get("stop_reason"),
                raw_response=row.get("raw_response"),
                flags={name: tuple(flags) for name, flags in row.get("judge_flags", {}).items()},
                failures=dict(row.get("failures", {})),
                prompt_truncated=bool(row.get("prompt_truncated", False)),
            )
        )
    return found


def prompt_id(axis: str, prompt: str, occurrence: int) -> str:
    """Make a prompt's id of its text, and of a number where it is asked more than once."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{axis}-{digest}" + (f"-{occurrence}" if occurrence > 1 else "")
