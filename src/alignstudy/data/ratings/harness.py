"""Logs of lm-evaluation-harness: `results_*.json` and, with --log_samples, `samples_*.jsonl`.

The layout is that of versions 0.4.x: https://github.com/EleutherAI/lm-evaluation-harness.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from alignstudy.data.ratings.json_files import load_json, load_lines
from alignstudy.data.ratings.rated import Sample, TaskLog, digest
from alignstudy.errors import DataError

_STAMP = re.compile(r"results_?(?P<stamp>.*)\.json")


def harness_results(folder: Path) -> list[Path]:
    """Return the files of results that a folder holds, at any depth."""
    return sorted(path for path in folder.rglob("results_*.json") if path.is_file())


def read_harness(results: Path) -> list[TaskLog]:
    """Read the samples that belong to a file of results.

    Raises:
        DataError: If there are none, or a file is something else.
    """
    found = load_json(results)
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise DataError(
            f"{results}: no results of lm-evaluation-harness", why="it has no object `results`"
        )
    mark = _STAMP.fullmatch(results.name)
    stamp = mark["stamp"] if mark else ""
    logs = []
    for task, figures in found["results"].items():
        path = results.parent / f"samples_{task}_{stamp}.jsonl"
        if path.is_file():
            logs.append(_task_log(path, task, figures, found, stamp))
    if not logs:
        raise DataError(
            f"{results}: no samples beside it",
            why=f"samples_TASK_{stamp}.jsonl are what models are compared by, prompt by prompt",
            hint="run lm_eval again with --log_samples",
        )
    return logs


def _task_log(
    path: Path, task: str, figures: Mapping[str, Any], results: Mapping[str, Any], stamp: str
) -> TaskLog:
    """Read one model's samples of one task."""
    # "acc,none": a metric and the filter of the answers that it was measured on.
    keys = [key for key in figures if "," in key and not key.split(",")[0].endswith("_stderr")]
    higher = (results.get("higher_is_better") or {}).get(task) or {}
    turned = tuple(key for key in keys if higher.get(key.split(",")[0]) is False)
    merged: dict[str, Sample] = {}
    for number, row in load_lines(path):
        sample = _sample(row, keys, turned, f"{path}:{number}")
        known = merged.get(sample.key)
        # The harness writes a line for each filter of a document's answers.
        merged[sample.key] = _joined(known, sample) if known else sample
    filters = {key.split(",", 1)[1] for key in keys}
    names = {key: key.split(",")[0] if len(filters) == 1 else key for key in keys}
    return TaskLog(
        where=str(path),
        made=stamp,
        model=_model(results, path.parent.name),
        task=task,
        metrics=tuple(names[k] for k in keys if any(k in s.values for s in merged.values())),
        samples=tuple(
            Sample(
                key=sample.key,
                prompt=sample.prompt,
                response=sample.response,
                values={names[key]: value for key, value in sample.values.items()},
            )
            for sample in merged.values()
        ),
        turned=tuple(names[key] for key in turned),
    )


def _sample(row: object, keys: list[str], turned: tuple[str, ...], where: str) -> Sample:
    """Read a line of samples.

    Raises:
        DataError: If it has no document, or a metric's value is no number.
    """
    if not isinstance(row, dict) or "doc_id" not in row:
        raise DataError(f"{where}: no sample of lm-evaluation-harness", why="it has no `doc_id`")
    values: dict[str, float | None] = {}
    for key in keys:
        metric, _, kind = key.partition(",")
        value = row.get(metric)
        if kind != row.get("filter", "none") or isinstance(value, list | dict):
            continue
        if value is not None and not isinstance(value, bool | int | float):
            raise DataError(f"{where}: {metric} is {str(value)[:40]!r}, no number")
        given = None if value is None or math.isnan(value) else float(value)
        values[key] = -given if given is not None and key in turned else given
    hashed = row.get("doc_hash") or digest(json.dumps(row.get("doc"), sort_keys=True))
    asked = list(_arguments(row.get("arguments")))
    return Sample(
        key=f"{row['doc_id']}-{hashed[:12]}",
        prompt=str(asked[0][0]) if asked else json.dumps(row.get("doc")),
        response=_response(row.get("filtered_resps") or [], asked),
        values=values,
    )


def _joined(first: Sample, second: Sample) -> Sample:
    """Put together what two filters of one document's answers say."""
    return Sample(
        key=first.key,
        prompt=first.prompt,
        response=first.response,
        values={**first.values, **second.values},
    )


def _arguments(given: object) -> Iterator[list[Any]]:
    """Return what the model was given, request by request: a context, and what goes with it."""
    requests = given.values() if isinstance(given, dict) else given
    for each in requests if isinstance(requests, Iterable) else ():
        parts = list(each.values() if isinstance(each, dict) else each)
        if parts:
            yield parts


def _response(answers: Any, asked: list[list[Any]]) -> str:  # noqa: ANN401 - JSON
    """Return what was generated, or the likeliest of several choices; "" if there is no text."""
    choices = [parts[1] for parts in asked if len(parts) > 1 and isinstance(parts[1], str)]
    if choices:  # log-likelihoods of given texts, each [number, whether it is the greedy one]
        if len(choices) < 2 or len(choices) != len(answers):
            return ""
        try:
            likely = [float(answer[0]) for answer in answers]
        except (TypeError, ValueError, IndexError):  # a filter's own answers: no text to show
            return ""
        return str(choices[likely.index(max(likely))])
    while isinstance(answers, list) and answers:
        answers = answers[0]
    return answers if isinstance(answers, str) else ""


def _model(results: Mapping[str, Any], folder: str) -> str:
    """Return the model's name: the harness' own, else by its arguments, else the folder's."""
    config = results.get("config") or {}
    given = config.get("model_args")
    if isinstance(given, str):
        given = dict(part.split("=", 1) for part in given.split(",") if "=" in part)
    named = (given or {}).get("pretrained") or (given or {}).get("model")
    return str(results.get("model_name") or named or folder)
