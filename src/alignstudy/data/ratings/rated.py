"""What readers of ratings give, and how the names in logs become names of models and axes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alignstudy.errors import DataError, InputError
from alignstudy.records import ScoredResponse

JUDGE = "rating"
"""The judge's name where files don't say whose ratings they hold."""

LOG = "log"
"""The judge's name of what logs measured: no judge's opinion."""

RIGHT = 0.5
"""Above it a score of 0 (wrong) or 1 (right) counts."""

BINARY = "right or wrong"
"""Begins the origin of such a threshold, which nobody had to choose."""


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Rated responses as they were read.

    Attributes:
        rows: Of all models; a score is None where a rating is missing.
        thresholds: Axis -> score above which a response counts, where the ratings say it
            themselves, being right or wrong; and where that comes from.
        notes: What was chosen or left out in reading, a sentence each.
    """

    rows: list[ScoredResponse]
    thresholds: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a log says of one answer.

    Attributes:
        key: Tells the prompt from others: its id in the log, and a hash of what was asked.
        values: Metric -> value, higher is better; None where the log has none.
    """

    key: str
    prompt: str
    response: str
    values: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class TaskLog:
    """One model's samples of one task.

    Attributes:
        where: The file, for messages.
        made: When, as text that sorts by time.
        metrics: All that the log has, its leading one first.
        turned: Those of which the log's own values are better the lower: their sign is turned.
    """

    where: str
    made: str
    model: str
    task: str
    metrics: tuple[str, ...]
    samples: tuple[Sample, ...]
    turned: tuple[str, ...] = ()


def rated_of(logs: Sequence[TaskLog], asked: Sequence[str]) -> Rated:
    """Turn logs into rows: axes are tasks, scores one metric of each.

    Several answers to one prompt (epochs) are averaged. Where an axis' scores are all 0 or 1, those
    of 1 count.

    Args:
        logs: Of all models; of one model's logs of a task the newest is read.
        asked: Metrics to take, `NAME` or `TASK=NAME`; of several for one task each becomes an axis.
            A task without any gets its log's leading one.

    Raises:
        InputError: If a metric is asked for that no task has.
        DataError: If models that are different have one name.
    """
    newest: dict[tuple[str, str], TaskLog] = {}
    notes = []
    for log in sorted(logs, key=lambda log: log.made):
        if (log.model, log.task) in newest:
            notes.append(f"{log.task}: of {log.model}'s logs the newest is read")
        newest[log.model, log.task] = log
    models = _names({log.model for log in newest.values()})
    chosen = _chosen(list(newest.values()), asked)
    rows: list[ScoredResponse] = []
    thresholds: dict[str, tuple[float, str]] = {}
    names = _axis_names(chosen)
    for (task, metric), axis in names.items():
        of_task = [log for log in newest.values() if log.task == task and metric in log.metrics]
        found, most = _rows(of_task, metric, axis, models)
        rows += found
        scores = {score for row in found if (score := row.scores[LOG]) is not None}
        if scores <= {0.0, 1.0}:
            thresholds[axis] = RIGHT, f"{BINARY}: {metric} is 1 or 0"
        notes += _said(of_task, task, metric, axis, most)
    return Rated(rows=rows, thresholds=thresholds, notes=tuple(dict.fromkeys(filter(None, notes))))


def prompt_id(axis: str, prompt: str, occurrence: int = 1) -> str:
    """Make a prompt's id of its text, and of a number where it is asked more than once."""
    return f"{axis}-{digest(prompt)}" + (f"-{occurrence}" if occurrence > 1 else "")


def digest(text: str) -> str:
    """Return 16 hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _rows(
    logs: Sequence[TaskLog], metric: str, axis: str, models: Mapping[str, str]
) -> tuple[list[ScoredResponse], int]:
    """Return a task's rows, and the most answers that a prompt has."""
    # A chat template can make other texts of one question: the first model's is shown.
    texts: dict[str, str] = {}
    found, most = [], 1
    for log in logs:
        answers: dict[str, list[Sample]] = {}
        for sample in log.samples:
            answers.setdefault(sample.key, []).append(sample)
        for key, several in answers.items():
            values = [value for each in several if (value := each.values.get(metric)) is not None]
            whole = len(values) == len(several)
            most = max(most, len(several))
            found.append(
                ScoredResponse(
                    model=models[log.model],
                    seed=0,
                    prompt_id=f"{axis}-{key}",
                    axis=axis,
                    prompt=texts.setdefault(key, several[0].prompt),
                    response=several[0].response,
                    scores={LOG: sum(values) / len(values) if whole else None},
                )
            )
    return found, most


def _said(logs: Sequence[TaskLog], task: str, metric: str, axis: str, most: int) -> list[str]:
    """Return what a reader of a task's figures has to know."""
    others = dict.fromkeys(name for log in logs for name in log.metrics if name != metric)
    also = f" (the logs also have {', '.join(others)})" if others else ""
    turned = any(metric in log.turned for log in logs)
    return [
        f"{axis}: the score is {metric} of the task {task}{also}",
        f"{axis}: {metric} is better the lower, so its sign is turned" if turned else "",
        f"{axis}: up to {most} answers to one prompt are averaged" if most > 1 else "",
    ]


def _chosen(logs: Sequence[TaskLog], asked: Sequence[str]) -> dict[str, list[str]]:
    """Return the metrics to take of each task.

    Raises:
        InputError: If one is asked for that no task has.
    """
    has: dict[str, list[str]] = {}
    for log in logs:
        has[log.task] = list(dict.fromkeys([*has.get(log.task, ()), *log.metrics]))
    chosen: dict[str, list[str]] = {task: [] for task in has}
    for text in asked:
        task, given, metric = text.rpartition("=")
        tasks = [task] if given else list(has)
        matching = [name for name in tasks if metric in has.get(name, ())]
        if not matching:
            known = "; ".join(f"{name}: {', '.join(metrics)}" for name, metrics in has.items())
            raise InputError(f"no task has the metric '{text}'", why=f"the logs have {known}")
        for name in matching:
            chosen[name].append(metric)
    return {task: list(dict.fromkeys(metrics)) or has[task][:1] for task, metrics in chosen.items()}


def _axis_names(chosen: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], str]:
    """Name the axes: by the task, and by the metric too where a task has several.

    Raises:
        DataError: If two tasks have one name when written with letters, digits and `-`.
    """
    found = {
        (task, metric): _plain(f"{task}-{metric}" if len(metrics) > 1 else task)
        for task, metrics in chosen.items()
        for metric in metrics
    }
    for name, amount in Counter(found.values()).items():
        if amount > 1:
            alike = [task for (task, _), given in found.items() if given == name]
            raise DataError(
                f"the tasks {' and '.join(alike)} would both be called '{name}'",
                why="an axis' name has letters, digits and `-` only",
                hint="evaluate them one by one",
            )
    return found


def _plain(text: str) -> str:
    """Write a task's name as an axis' is: letters, digits and `-`, a letter first."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    return name if name[:1].isalpha() else f"task-{name}"


def _names(models: Iterable[str]) -> dict[str, str]:
    """Name models by the last part of a path or hub id, by all parts where two end alike."""
    paths = {model: [part for part in re.split(r"[/\\]+", model) if part] for model in models}
    ends = Counter(parts[-1] if parts else "model" for parts in paths.values())
    found = {}
    for model, parts in paths.items():
        last = parts[-1] if parts else "model"
        name = last if ends[last] == 1 else "--".join(parts)
        # A number before `_` orders models in a folder of ratings; here it is part of the name.
        name = re.sub(r"^(\d+)_", r"\1-", re.sub(r"[\x00-\x1f:*?\"<>|]", "-", name))
        found[model] = name.lstrip(".") or "model"
    if len(set(found.values())) < len(found):
        raise DataError(
            f"models can't be told apart by name: {', '.join(sorted(paths))}",
            hint="name the models' paths otherwise, or evaluate them one by one",
        )
    return found
