"""A blind sheet of responses for people to label, and the key that says which response is which."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.labels.matching import refuse_samples, text_digest
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, usable
from alignstudy.data.files.labels import ID, LABEL, LABELS, SHEET_ROW, key_name
from alignstudy.data.ratings.folder import read_ratings
from alignstudy.errors import InputError
from alignstudy.records import Axis, ScoredResponse
from alignstudy.report.stored import STATISTICS
from alignstudy.report.tables.write import never_a_formula
from alignstudy.report.untrusted import visible
from alignstudy.sources import home_path
from alignstudy.stats.stratified import stratified_draw
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.store import disk_faults
from alignstudy.study.tools.evaluate import own_findings

COLUMNS = (ID, "question", "prompt", "response", LABEL)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What was drawn.

    Attributes:
        path: The sheet.
        key: Its key, in the run folder.
        rows: Responses to label; equal ones to one prompt are one.
        prompts: Axis -> prompts of which every model's response is there.
    """

    path: Path
    key: Path
    rows: int
    prompts: dict[str, int]


Texts = dict[tuple[str, str, str], list[ScoredResponse]]
"""(Axis, prompt id, response) -> the responses that are so."""


def label_sheet(
    run: str | Path, *, n: int = 100, out: str | Path | None = None, seed: int = 0
) -> Sheet:
    """Draw responses of a finished run for people to label, whoever wrote them unseen.

    Prompts are drawn on each axis, stratified by how many models the judge passes; of each prompt
    every model's response is labelled, so that differences are paired, under one training seed
    drawn at random. The order is random.

    Args:
        run: A run folder.
        n: Responses to label, about: whole prompts are drawn.
        out: The sheet; None: `labels-NAME.csv` in the current folder.
        seed: Of the draw; another one draws another sheet.

    Raises:
        InputError: If the run isn't finished, no axis has a threshold, `n` is too small, or the
            file exists, or a model answered a prompt several times.
    """
    folder = RunFolder(path=home_path(run).absolute())
    findings = own_findings(folder.path / STATISTICS)
    if findings is None:
        raise InputError(
            f"{run} holds no finished run",
            why=f"there is no {folder.path / STATISTICS}",
            hint="name a run folder: runs/<study>",
        )
    rng = np.random.default_rng(seed)
    folder.check("responses")
    responses = read_ratings(folder.path / "responses")
    refuse_samples(responses)
    drawn = _draw(findings.first, responses, n, rng)
    texts: Texts = {}
    for row in drawn.rows:
        texts.setdefault((row.axis, row.prompt_id, row.response), []).append(row)
    order = [list(texts)[at] for at in rng.permutation(len(texts))]
    content = hashlib.sha256(repr(order).encode("utf-8", "surrogatepass")).hexdigest()
    name = f"s{content[:6]}"
    ids = {text: f"{name}{SHEET_ROW}{at:03d}" for at, text in enumerate(order, start=1)}
    path = home_path(out or f"labels-{name}.csv").absolute()
    key = folder.path / LABELS / key_name(name)
    _write_new(path, _sheet_text(ids, texts, drawn.axes))
    folder.write(f"{LABELS}/{key.name}", _key_text(ids, texts, drawn.stands_for))
    return Sheet(path=path, key=key, rows=len(ids), prompts=drawn.prompts)


@dataclass(frozen=True)
class _Drawn:
    """The drawn responses, and how many prompts each prompt stands for."""

    axes: dict[str, Axis]
    rows: list[ScoredResponse]
    stands_for: dict[str, float]
    prompts: dict[str, int]


def _draw(
    first: Analysis, responses: Sequence[ScoredResponse], n: int, rng: np.random.Generator
) -> _Drawn:
    """Draw as many prompts on each axis as make about n different texts in all."""
    known = usable([row for row in responses if first.judge in row.scores])[0]
    matrices = build_matrices(known, first.thresholds, axes=first.axes, judge=first.judge)
    panels = {a: p for a, p in matrices.items() if p.passed is not None and _asked(p).any()}
    if not panels:
        raise InputError(
            "no rate could be corrected by labels",
            why="no axis has a threshold and prompts to which every model's response has a score",
            hint="give `thresholds`",
        )
    rows = {(row.model, row.seed, row.prompt_id): row for row in known}
    texts = {
        (row.axis, row.prompt_id, row.seed, row.response) for row in known if row.axis in panels
    }
    asked = {(axis, prompt_id, seed) for axis, prompt_id, seed, _ in texts}
    a_prompt = len(texts) / len(asked)  # different texts, on average
    size = int(n / (a_prompt * len(panels)) + 0.5)
    if size < min(MIN_PROMPTS, *(int(_asked(panel).sum()) for panel in panels.values())):
        raise InputError(
            f"{n} responses are {size} prompts on each axis, of which all models' are labelled",
            why=f"nothing is inferred from fewer than {MIN_PROMPTS}",
            hint=f"--n {int(MIN_PROMPTS * a_prompt * len(panels)) + 1} or more;"
            " thirty prompts on each axis, and more, tell something",
        )
    found = _Drawn({axis: panel.axis for axis, panel in panels.items()}, [], {}, {})
    for axis, panel in panels.items():
        columns = np.flatnonzero(_asked(panel))
        strata = [_stratum(panel, int(at)) for at in columns]
        chosen, stands_for = stratified_draw(strata, size, rng)
        found.prompts[axis] = len(chosen)
        for at, many in zip(columns[chosen], stands_for, strict=True):
            prompt_id = panel.prompt_ids[at]
            found.stands_for[prompt_id] = float(many)
            for model in panel.models:
                there = [seed for seed in panel.seeds if (model, seed, prompt_id) in rows]
                found.rows.append(rows[model, int(rng.choice(there)), prompt_id])
    return found


def _asked(panel: ScoreMatrix) -> NDArray[np.bool_]:
    """Return which prompts have a score of every model, in all of its seeds."""
    there = np.isfinite(panel.by_seed)
    trained = there.any(axis=2, keepdims=True)
    return np.asarray((there | ~trained).all(axis=(0, 1)))


def _stratum(panel: ScoreMatrix, at: int) -> int:
    """Return 0 where no model passes a prompt, 3 where all do, 1 and 2 where fewer or more do."""
    assert panel.passed is not None
    share = float(panel.passed[:, [at]].mean())
    return 0 if share == 0.0 else 3 if share == 1.0 else 1 + (share >= 0.5)


def question_of(axis: Axis) -> str:
    """Return what a person is asked of a response."""
    asked = (
        f"Does the response pass on {axis.quality}?"
        if axis.passes == Axis.passes
        else f"Is the response {axis.passes}?"
    )
    return f"{asked} 1 = yes, 0 = no, skip"


def _sheet_text(ids: dict[tuple[str, str, str], str], texts: Texts, axes: dict[str, Axis]) -> str:
    """Write the sheet: nothing in it tells who wrote a response."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for text, name in ids.items():
        row = texts[text][0]
        cells = (question_of(axes[row.axis]), row.prompt.strip(), row.response)
        writer.writerow([name, *(never_a_formula(visible(cell)) for cell in cells), ""])
    return file.getvalue()


def _key_text(
    ids: dict[tuple[str, str, str], str], texts: Texts, stands_for: dict[str, float]
) -> str:
    """Write the key: row -> the responses that it is."""
    rows = {
        name: [
            {
                "model": row.model,
                "seed": row.seed,
                "prompt_id": row.prompt_id,
                "axis": row.axis,
                "stands_for": stands_for[row.prompt_id],
                "response": text_digest(row),
            }
            for row in texts[text]
        ]
        for text, name in ids.items()
    }
    return json.dumps({"rows": rows}, indent=1) + "\n"


def _write_new(path: Path, text: str) -> None:
    """Write a file for spreadsheets: UTF-8 with its mark; one that is there is left alone."""
    with disk_faults(f"the sheet {path}"):
        try:
            with path.open("x", encoding="utf-8-sig", newline="") as file:
                file.write(text)
        except FileExistsError:
            raise InputError(
                f"{path} exists already",
                hint="name another file with --out, or another draw with --seed",
                kept="the file as it is",
            ) from None
