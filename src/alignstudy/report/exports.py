"""Responses, ratings and labels as files that the published study would recognise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alignstudy.analysis.hygiene import fails_as_empty
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.score_matrix import models_of, rating
from alignstudy.errors import InputError
from alignstudy.metrics.axes import axis_named
from alignstudy.records import DECIMALS, ScoredResponse

_SAFE_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|]+")


def write_responses(
    responses: Sequence[ScoredResponse],
    judge: str,
    folder: Path,
    *,
    decimals: int | None = DECIMALS,
) -> list[Path]:
    """Write `<model>_<prompts>.json`: one object a response, `rating` the judge's score.

    `prompt`, `response` and `rating` come first, as in the published study; `rating` is rounded as
    scores are compared, and null where the judge gave no finite score. `scores` holds every judge's
    score unrounded; `sample` is there where a model answered a prompt several times.

    Args:
        responses: Rows of all models and seeds.
        judge: Whose score is the rating.
        folder: Where to write; made if it isn't there.
        decimals: Of the judge's `Thresholds`.

    Returns:
        The files written.

    Raises:
        InputError: If a model's name can't be part of a file name, or the judge missed a response.
    """
    written, several = [], any(row.sample for row in responses)
    for model in models_of(responses):
        if not _SAFE_NAME.fullmatch(model) or model.startswith("."):
            raise InputError(
                f"model '{model}': can't be part of a file name",
                hint="name it with letters, digits, '-' and '_'",
            )
        for name in dict.fromkeys(row.axis for row in responses):
            rows = [row for row in responses if row.model == model and row.axis == name]
            if rows:
                path = folder / f"{model}_{axis_named(name).prompts}.json"
                rated = (_rated(row, judge, decimals, several=several) for row in rows)
                written.append(_write(path, rated))
    return written


def _rated(
    row: ScoredResponse, judge: str, decimals: int | None, *, several: bool
) -> dict[str, Any]:
    """Return a response as it is written; scores that JSON has no number for are null."""
    return {
        "prompt": row.prompt,
        "response": row.response,
        "rating": rating(row, judge, decimals),
        "model": row.model,
        "seed": row.seed,
        **({"sample": row.sample} if several else {}),
        "prompt_id": row.prompt_id,
        "num_tokens": row.num_tokens,
        "stop_reason": row.stop_reason,
        "raw_response": row.raw_response,
        "prompt_truncated": row.prompt_truncated,
        "judge_flags": row.flags,
        "failures": row.failures,
        "scores": {
            name: score if score is not None and abs(score) < float("inf") else None
            for name, score in row.scores.items()
        },
    }


def write_classifications(
    responses: Sequence[ScoredResponse], judge: str, thresholds: Thresholds, folder: Path
) -> list[Path]:
    """Write a file an axis, named by what it measures: a rating and a label for each response.

    Labels compare the rating as written, so that counting them gives the rates of the tables;
    `label` is null where there is no rating or no threshold.

    Args:
        responses: Rows of all models and seeds.
        judge: Whose score is the rating.
        thresholds: What passes, axis by axis.
        folder: Where to write; made if it isn't there.

    Returns:
        The files written: one for each prompt set that has responses.

    Raises:
        InputError: If the judge missed a response.
    """
    written = []
    for name in dict.fromkeys(row.axis for row in responses):
        axis, rows = axis_named(name), []
        labels = {None: None, True: axis.passes, False: axis.fails}
        for row in (row for row in responses if row.axis == name):
            score = rating(row, judge, thresholds.decimals)
            given = {"model": row.model, "prompt": row.prompt, "response": row.response}
            label = labels[counts(row, score, thresholds)]
            rows.append({**given, "rating": score, "label": label})
        written.append(_write(folder / f"{axis.labels}.json", rows))
    return written


def counts(row: ScoredResponse, score: float | None, thresholds: Thresholds) -> bool | None:
    """Return whether a response counts with a score; None without score or threshold."""
    passes = None if score is None else thresholds.passes(row.axis, score)
    return passes and not fails_as_empty(row, thresholds)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write a JSON list, a row a line, in ASCII: lone surrogates survive as escapes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="ascii")
    return path
