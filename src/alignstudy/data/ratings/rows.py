"""The rows of a file of ratings: what is wrong with one, and whose scores it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignstudy.data.ratings.rated import JUDGE
from alignstudy.errors import DataError
from alignstudy.records import DECIMALS, LARGEST_SCORE, StopReason

_COLUMN = "rating_"
"""Begins the names of columns that hold one judge's ratings each."""


def with_scores(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with a `rating` each, null where it is missing, and the `scores` of judges.

    Columns `rating_<judge>` become `scores`; the rating itself is a judge beside them where it is
    none of theirs. A row that has no rating takes its first judge's.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row if key.startswith(_COLUMN)))
    apart = bool(columns) and any(
        "rating" in row and all(row["rating"] != row.get(name) for name in columns) for row in rows
    )
    found = []
    for row in rows:
        given = {name.removeprefix(_COLUMN): _number(row.get(name)) for name in columns}
        if apart:
            given = {JUDGE: _number(row.get("rating")), **given}
        scores = row.get("scores") or given or None
        first = next(iter(scores.values())) if scores else None
        rating = _number(row["rating"]) if "rating" in row else first
        whole = {name: value for name, value in row.items() if name not in columns}
        found.append({**whole, "rating": rating, **({"scores": scores} if scores else {})})
    return found


def judges_of(rows: Sequence[dict[str, Any]], folder: Path) -> tuple[str, ...]:
    """Return the judges whose scores every row has, the one that made the ratings first.

    Raises:
        DataError: If no judge's scores are the ratings.
    """
    found: list[dict[str, Any]] = [row.get("scores") or {} for row in rows]
    if not all(found):
        return (JUDGE,)
    names = [name for name in found[0] if all(name in scores for scores in found)]
    leading = [
        name for name in names if all(_gave(row["scores"][name], row["rating"]) for row in rows)
    ]
    if not leading:
        raise DataError(
            f"{folder}: no judge in `scores` gave the ratings",
            why="each row's rating is its leading judge's score, as it is or rounded to four"
            " decimals",
            hint="write the rows as alignstudy does, or leave `scores` out",
        )
    others = dict.fromkeys(name for scores in found for name in scores)
    return (leading[0], *(name for name in others if name != leading[0]))


def _gave(score: float | None, rating: float | None) -> bool:
    """Whether a rating is a score, as it is or rounded, or neither is there."""
    if score is None or rating is None:
        return score is rating
    return score == rating or bool(
        abs(round(float(score), DECIMALS) - rating) < 10.0**-DECIMALS / 2
    )


def fault_of(row: object) -> str:
    """Return what is wrong with a row; empty if nothing is. A missing rating is no fault."""
    if not isinstance(row, dict):
        return "not an object"
    missing = [key for key in ("prompt", "response") if key not in row]
    if missing:
        return f"no {', '.join(missing)}"
    scores = row.get("scores")
    given = scores.values() if isinstance(scores, dict) else ()
    checks = {
        "prompt": isinstance(row["prompt"], str),
        "response": isinstance(row["response"], str),
        **{key: _is_rating(row[key]) for key in row if key == "rating" or key.startswith(_COLUMN)},
        "seed": _is_count(row.get("seed", 0)),
        "sample": _is_count(row.get("sample", 0)),
        "prompt_id": isinstance(row.get("prompt_id"), str | None),
        "num_tokens": row.get("num_tokens") is None or _is_count(row["num_tokens"]),
        "stop_reason": row.get("stop_reason") in (None, *(str(item) for item in StopReason)),
        "raw_response": isinstance(row.get("raw_response"), str | None),
        "scores": isinstance(scores, dict | None) and all(map(_is_rating, given)),
    }
    bad = [f"{key} is {str(row.get(key))[:40]!r}" for key, good in checks.items() if not good]
    return ", ".join(bad)


def _number(value: float | None) -> float | None:
    """Return a rating as a number, None where it is missing."""
    return None if value is None or math.isnan(value) else float(value)


def _is_rating(value: object) -> bool:
    """Whether a value is a rating of usual size, or a missing one."""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return False
    return value is None or value != value or abs(value) <= LARGEST_SCORE


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
