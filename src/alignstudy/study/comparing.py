"""Two or more runs side by side, aligned by the text of their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alignstudy.errors import DataError, InputError
from alignstudy.records import ScoredResponse
from alignstudy.report.assemble import Question, find
from alignstudy.report.ratings import find_base, prompt_id, read_ratings
from alignstudy.report.results import Thresholds
from alignstudy.report.stored import STATISTICS
from alignstudy.study.evaluating import clusters_of, own_thresholds
from alignstudy.study.reporting import inputs_of, write_run
from alignstudy.study.results import Run
from alignstudy.study.runfolder import RunFolder


def compare(runs: Sequence[str | Path], *, out: str | Path) -> Run:
    """Put the models of several finished runs side by side, aligned by prompt.

    Args:
        runs: Run folders, two or more.
        out: The folder to write.

    Raises:
        InputError: If one is no finished run, or they have no judge or thresholds in common.
        DataError: If they share no prompt.
    """
    if len(runs) < 2:
        raise InputError("one run is nothing to compare", mend="name two run folders or more")
    folder = RunFolder(path=Path(out).expanduser().absolute())
    with folder.locked():
        compare_runs([Path(run).expanduser() for run in runs], folder)
    return Run(folder=folder.path)


def compare_runs(runs: Sequence[Path], folder: RunFolder) -> None:
    """Put the models of several runs side by side, aligned by the text of the prompts.

    The runs must have a judge in common; its thresholds must be the same in all of them.

    Raises:
        InputError: If a folder holds no finished run, or there is no common judge or threshold.
        DataError: If the runs share no prompt.
    """
    found = {name: _of_run(path) for name, path in _labels(runs).items()}
    judges = [
        judge
        for judge in next(iter(found.values()))[1]
        if all(judge in thresholds for _, thresholds in found.values())
    ]
    if not judges:
        listed = "; ".join(f"{name}: {', '.join(given)}" for name, (_, given) in found.items())
        raise InputError(
            "the runs have no judge in common",
            why=listed,
            mend="score both with one judge: a new judge is one line, nothing is generated again",
        )
    _refuse_other_thresholds(found, judges)
    rows = _side_by_side({name: given for name, (given, _) in found.items()}, judges)
    first_thresholds = next(iter(found.values()))[1]
    bases = {name: find_base(given) for name, (given, _) in found.items()}
    base = next((f"{base}@{name}" for name, base in bases.items() if base), None)
    question = Question(
        thresholds={judge: first_thresholds[judge] for judge in judges},
        base=base,
        clusters=clusters_of(rows),
    )
    rows, findings = find(rows, question)
    provenance = {"runs": {name: str(path) for name, path in _labels(runs).items()}}
    write_run(folder, inputs_of(" and ".join(found), rows, findings, provenance, protocol=None))


def _labels(runs: Sequence[Path]) -> dict[str, Path]:
    """Name the runs: by their folders where those differ, else by letters."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{name}-{chr(ord('a') + at)}" for at, name in enumerate(names)]
    return dict(zip(names, runs, strict=True))


def _of_run(run: Path) -> tuple[list[ScoredResponse], dict[str, Thresholds]]:
    if not (run / STATISTICS).is_file():
        raise InputError(f"{run} holds no finished run", mend="name a run folder: runs/<study>")
    return read_ratings(run / "responses"), own_thresholds(run / STATISTICS)


def _refuse_other_thresholds(
    found: dict[str, tuple[list[ScoredResponse], dict[str, Thresholds]]], judges: Sequence[str]
) -> None:
    for judge in judges:
        limits = {
            name: (each[judge].harmless, each[judge].helpful, each[judge].inclusive)
            for name, (_, each) in found.items()
        }
        if len(set(limits.values())) > 1:
            raise InputError(
                f"judge {judge} has other thresholds in each run",
                why="; ".join(f"{name}: {values[:2]}" for name, values in limits.items()),
                mend="run one of them again with `--set thresholds={harmless: .., helpful: ..}`",
            )


def _side_by_side(
    runs: dict[str, list[ScoredResponse]], judges: Sequence[str]
) -> list[ScoredResponse]:
    """Give the rows on the prompts that all runs share, models named by run.

    Raises:
        DataError: If there is no such prompt.
    """
    texts = [{(row.axis, row.prompt) for row in rows} for rows in runs.values()]
    shared = set.intersection(*texts)
    if not shared:
        raise DataError(
            "the runs share no prompt",
            why="they are aligned by the prompts' text",
            mend="compare runs whose `prompts` are the same",
        )
    return [
        replace(
            row,
            model=f"{row.model}@{name}",
            prompt_id=prompt_id(row.axis, row.prompt, 1),
            scores={judge: row.scores[judge] for judge in judges},
        )
        for name, rows in runs.items()
        for row in rows
        if (row.axis, row.prompt) in shared
    ]
