"""Two or more runs side by side, aligned by the text of their prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alignstudy.analysis.analyze_run import LEAK, AnalysisConfig, analyze_run
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.data.ratings.folder import find_base, read_ratings
from alignstudy.data.ratings.rated import prompt_id
from alignstudy.errors import DataError, InputError
from alignstudy.formatting import listing
from alignstudy.records import ScoredResponse
from alignstudy.records.evidence import JudgeQuality
from alignstudy.records.rewards import RewardCheck
from alignstudy.report.stored import STATISTICS
from alignstudy.sources import home_path
from alignstudy.study.results import Run
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.tools.evaluate import clusters_of, leaking, own_findings, own_thresholds
from alignstudy.study.tools.report import uncollected, write_run


def compare(runs: Sequence[str | Path], *, out: str | Path) -> Run:
    """Compare the models of several finished runs side by side, aligned by prompt.

    Args:
        runs: Run folders, two or more.
        out: The folder to write.

    Raises:
        InputError: If one is no finished run, or they have no judge or thresholds in common.
        DataError: If they share no prompt.
    """
    if len(runs) < 2:
        raise InputError("one run is nothing to compare", hint="name two run folders or more")
    given = [home_path(run) for run in runs]
    names = [run.resolve().name for run in given]
    if len(set(names)) < len(names):
        names = [f"{name}-{chr(ord('a') + at)}" for at, name in enumerate(names)]
    paths = dict(zip(names, given, strict=True))
    folder = RunFolder(path=home_path(out).absolute())
    with folder.locked(), uncollected():
        _write_comparison(paths, folder)
    return Run(folder=folder.path)


def _write_comparison(paths: dict[str, Path], folder: RunFolder) -> None:
    found: dict[str, tuple[list[ScoredResponse], dict[str, Thresholds]]] = {}
    assessed: dict[str, Findings] = {}
    for name, path in paths.items():
        if not (path / STATISTICS).is_file():
            raise InputError(
                f"{path} holds no finished run", hint="name a run folder: runs/<study>"
            )
        own = own_findings(path / STATISTICS)
        RunFolder(path=path).check("responses")
        found[name] = read_ratings(path / "responses"), own_thresholds(own) if own else {}
        if own is not None:
            assessed[name] = own
    judges = [
        judge
        for judge in next(iter(found.values()))[1]
        if all(judge in thresholds for _, thresholds in found.values())
    ]
    if not judges:
        raise InputError(
            "the runs have no judge in common",
            why="; ".join(f"{name}: {', '.join(given)}" for name, (_, given) in found.items()),
            hint="score both with one judge: a new judge is one line, nothing is generated again",
        )
    for judge in judges:
        limits = {name: _rule_in_words(each[judge]) for name, (_, each) in found.items()}
        if len(set(limits.values())) > 1:
            raise InputError(
                f"judge {judge} has other thresholds in each run",
                why="; ".join(f"{name}: {words}" for name, words in limits.items()),
                hint="run one of them again with `--set thresholds={AXIS: ..}`",
            )
    rows = _side_by_side({name: given for name, (given, _) in found.items()}, judges)
    first_thresholds = next(iter(found.values()))[1]
    bases = {name: find_base(given) for name, (given, _) in found.items()}
    base = next((f"{base}@{name}" for name, base in bases.items() if base), None)
    question = AnalysisConfig(
        thresholds={judge: first_thresholds[judge] for judge in judges},
        base=base,
        clusters=clusters_of(rows),
        excluded={LEAK: leaking(rows)},
        rewards=_rewards(assessed),
    )
    rows, findings = analyze_run(rows, question, qualities=_qualities(assessed, judges))
    provenance = {"runs": {name: str(path) for name, path in paths.items()}}
    write_run(folder, " and ".join(found), rows, findings, provenance)


def _qualities(runs: Mapping[str, Findings], judges: Sequence[str]) -> list[JudgeQuality]:
    """Return what the runs know of their judges; a judge is stamped where one run stamps it.

    Figures are those of the first run that assessed it: each run has pairs of its own.
    """
    kept = []
    for judge in judges:
        found = {name: own.quality(judge) for name, own in runs.items()}
        known = {name: quality for name, quality in found.items() if quality is not None}
        if not known:
            continue
        first, *others = known
        notes = list(known[first].notes)
        if len(known) < len(found):
            without = [name for name in found if name not in known]
            notes.append(f"assessed in {listing(list(known))} only, not in {listing(without)}")
        if any(known[name] != known[first] for name in others):
            notes.append(
                f"its figures are those of {first}; stamps are those of {listing(list(known))}"
            )
        stamped = dict.fromkeys(axis for each in known.values() for axis in each.below_floor)
        kept.append(replace(known[first], below_floor=tuple(stamped), notes=tuple(notes)))
    return kept


def _rewards(runs: Mapping[str, Findings]) -> tuple[RewardCheck, ...]:
    """Return what became of rewards in each run, its models named as they are compared."""
    return tuple(
        replace(check, model=f"{check.model}@{name}")
        for name, own in runs.items()
        for check in own.rewards
    )


def _rule_in_words(thresholds: Thresholds) -> str:
    """Write what passes: two runs that write it alike count the same responses."""
    sign = "at least" if thresholds.inclusive else "above"
    ends = [f"{axis} {sign} {value!r}" for axis, value in sorted(thresholds.values.items())]
    empty = f"empty ones fail on {' and '.join(thresholds.empty_fails)}"
    return ", ".join([*ends, empty if thresholds.empty_fails else "empty ones count"])


def _side_by_side(
    runs: dict[str, list[ScoredResponse]], judges: Sequence[str]
) -> list[ScoredResponse]:
    """Return the rows on the prompts that all runs share, models named by run.

    Each row gets an id of its prompt's text, numbered where that is asked more often. Numbers
    follow the run's own ids, so that its models stay aligned as they were.

    Raises:
        DataError: If there is no such prompt.
    """
    numbered: dict[str, list[tuple[ScoredResponse, str]]] = {}
    for name, rows in runs.items():
        ids: dict[tuple[str, str], dict[str, int]] = {}
        numbered[name] = []
        for row in rows:
            known = ids.setdefault((row.axis, row.prompt), {})
            occurrence = known.setdefault(row.prompt_id, len(known) + 1)
            numbered[name].append((row, prompt_id(row.axis, row.prompt, occurrence)))
    shared = set.intersection(*({name for _, name in rows} for rows in numbered.values()))
    if not shared:
        raise DataError(
            "the runs share no prompt",
            why="they are aligned by the prompts' text",
            hint="compare runs whose `prompts` are the same",
        )
    return [
        replace(
            row,
            model=f"{row.model}@{name}",
            prompt_id=prompt_name,
            scores={judge: row.scores[judge] for judge in judges if judge in row.scores},
        )
        for name, rows in numbered.items()
        for row, prompt_name in rows
        if prompt_name in shared
    ]
