"""A folder of rated responses, as the published study and alignstudy's runs leave them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.data.ratings.json_files import load_json, load_lines
from alignstudy.data.ratings.rated import JUDGE, prompt_id
from alignstudy.data.ratings.rows import fault_of, judges_of, with_scores
from alignstudy.errors import DataError, InputError
from alignstudy.metrics.axes import PUBLISHED, axes_of, axis_named
from alignstudy.records import ScoredResponse

_NAME = re.compile(r"(?:(?P<order>\d+)_)?(?P<model>.+)_(?P<prompts>[A-Za-z][A-Za-z0-9-]*)\.jsonl?")
_SEED = re.compile(r"(?P<model>.+?)[_.-]seed[_=-]?(?P<seed>\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    """A file of ratings.

    Attributes:
        model: As the file's name has it.
        seed: Of the training, where the file's name ends so; `name` is the model without it.
    """

    path: Path
    order: float
    model: str
    axis: str

    @property
    def name(self) -> str:
        found = _SEED.fullmatch(self.model)
        return found["model"] if found else self.model

    @property
    def seed(self) -> int | None:
        found = _SEED.fullmatch(self.model)
        return int(found["seed"]) if found else None


def read_ratings(folder: Path) -> list[ScoredResponse]:
    """Read `<model>_<prompts>.json` files with ratings: the last word names the axis.

    A leading number (`1_base_<prompts>.json`) orders the models; without one, `base` comes first
    and the others follow by name. `<model>_seed<number>_<prompts>.json` is of one training seed of
    the model, unless the rows' own `model` says otherwise. `.jsonl` files hold a row a line.

    Rows need `prompt`, `response` and `rating`; `seed`, `sample`, `prompt_id`, `num_tokens`,
    `stop_reason` and `raw_response` are read where they are. A rating may be missing: null, NaN or
    left out. A prompt's id is made of its text, and of a number where it is asked more than once,
    unless every row names one. Where every row has `scores` (judge -> score, as alignstudy writes
    them), or a `rating_<judge>` for each of several judges, all of them are read, the one whose
    score is the `rating` first.

    Args:
        folder: The folder that holds the files.

    Returns:
        The rows of all models, scored by the judge "rating", or by those named.

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
    judges = judges_of([row for _, found in rows for row in found], folder)
    return [response for file, found in rows for response in _responses(file, found, judges)]


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
    lines = path.suffix == ".jsonl"
    rows = [row for _, row in load_lines(path)] if lines else load_json(path)
    if not isinstance(rows, list) or not rows:
        raise DataError(
            f"{path}: no rows",
            why="a JSON list of {prompt, response, rating} is expected",
            hint="write one object a response",
        )
    for number, row in enumerate(rows, start=1):
        fault = fault_of(row)
        if fault:
            raise DataError(
                f"{path}: row {number}: {fault}",
                hint="each row has prompt and response (text) and rating (a number of usual size)",
            )
    whole = with_scores(rows)
    if all(row["rating"] is None for row in whole):
        raise DataError(
            f"{path}: no row has a rating",
            why="`rating` is null, no number or not there in all of them",
            hint="write each response's score as `rating`; of several judges, as `rating_<judge>`",
        )
    return whole


def _responses(
    file: _File, rows: Sequence[dict[str, Any]], judges: Sequence[str]
) -> list[ScoredResponse]:
    occurrences: Counter[tuple[int, int, str]] = Counter()
    found = []
    of_model = all(row.get("model") == file.model for row in rows)
    model, in_name = (file.model, None) if of_model else (file.name, file.seed)
    for row in rows:
        seed, sample = row.get("seed", in_name or 0), row.get("sample", 0)
        prompt = row["prompt"]
        if in_name not in (None, seed):
            raise DataError(
                f"{file.path}: a row of seed {seed} in a file whose name says seed {in_name}",
                hint="rename the file, or mend the rows' `seed`",
            )
        occurrences[seed, sample, prompt] += 1
        given = {JUDGE: row["rating"]} if tuple(judges) == (JUDGE,) else row["scores"]
        scores = {name: given[name] for name in judges if name in given}
        occurrence = occurrences[seed, sample, prompt]
        named = row.get("prompt_id") or prompt_id(file.axis, prompt, occurrence)
        found.append(
            ScoredResponse(
                model=model,
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
                sample=sample,
            )
        )
    return found
