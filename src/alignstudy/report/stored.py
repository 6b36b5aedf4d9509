"""Findings and a report's other inputs as files, so that a report can be made again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from alignstudy.analysis.findings import SCHEMA, Findings
from alignstudy.analysis.results import Analysis
from alignstudy.data.ratings.folder import read_ratings
from alignstudy.errors import InputError
from alignstudy.records import ScoredResponse
from alignstudy.records.evidence import plain
from alignstudy.report.exports import write_classifications, write_responses
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.tables.write import write_tables
from alignstudy.report.text.answer import answer

STATISTICS = "statistics.json"
REPORT_DATA = "data/report.json"
"""What the report says beside numbers and responses: audits, training, guards, provenance."""

Record = TypeVar("Record")

_READ_TOO = {
    4: frozenset({"control", "best_sets", "control_tests", "rewards"}),
    5: frozenset({"rewards"}),
}
"""Earlier layouts that are read, and what they don't have yet."""

_ASIDE = {"findings", "responses", "figures"}


def write_findings(findings: Findings, rows: Sequence[ScoredResponse], folder: Path) -> None:
    """Write statistics.json, tables/, responses/ and classification/ into an existing folder."""
    first = findings.first
    statistics = findings.to_json()
    statistics["answer"] = plain(asdict(answer(findings)))
    text = json.dumps(statistics, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    (folder / STATISTICS).write_text(text, encoding="utf-8")
    write_tables(findings, folder / "tables")
    decimals = first.thresholds.decimals
    write_responses(rows, first.judge, folder / "responses", decimals=decimals)
    write_classifications(rows, first.judge, first.thresholds, folder / "classification")


def findings_from_json(found: Mapping[str, Any]) -> Findings:
    """Read what `Findings.to_json` gave; the same numbers, to the bit.

    Raises:
        InputError: If it is of another version's layout.
    """
    if found.get("schema") not in (SCHEMA, *_READ_TOO):
        raise InputError(
            f"statistics of layout {found.get('schema', 'unknown')}; this version reads {SCHEMA}",
            hint="run the study again with this version, or use the version that made it",
        )
    later = _READ_TOO.get(found["schema"], frozenset())
    first = {item.name: found[item.name] for item in fields(Analysis) if item.name not in later}
    lists = [item.name for item in fields(Findings) if item.name not in {"analyses", *later}]
    whole = {"analyses": [first, *found["other_judges"]], **{name: found[name] for name in lists}}
    return _read(Findings, whole, STATISTICS)


def write_report_data(inputs: ReportInputs, path: Path) -> None:
    """Write all that a report says beside findings, responses and figures."""
    kept = {item.name: getattr(inputs, item.name) for item in fields(inputs)}
    data = {name: value for name, value in kept.items() if name not in _ASIDE}
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = TypeAdapter(dict[str, Any]).dump_python(data, mode="json")
    path.write_text(json.dumps(plain, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


def read_report_inputs(run: Path) -> ReportInputs:
    """Read what a run folder holds for its report, figures left out.

    Raises:
        InputError: If a file is missing, damaged or of another version.
    """
    data = _load(run / REPORT_DATA)
    findings = findings_from_json(_load(run / STATISTICS))
    given = {**data, "findings": findings, "figures": ()}
    order = [model.model for model in findings.first.models]
    rows = read_ratings(run / "responses")
    given["responses"] = tuple(sorted(rows, key=lambda row: order.index(row.model)))
    return _read(ReportInputs, given, REPORT_DATA)


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} can't be read",
            why=str(error),
            hint="name a finished run folder, or run the study again: what is stored is reused",
        ) from error


def _read(kind: type[Record], data: object, name: str) -> Record:
    try:
        read: Record = TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        raise InputError(
            f"{name} doesn't hold a {kind.__name__}",
            why=str(error).splitlines()[0],
            hint="run the study again with this version: what is stored is reused",
        ) from error
    return read
