"""Reports as files: written once, and made again from a finished run."""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from alignstudy.analysis.findings import Findings
from alignstudy.records import ScoredResponse
from alignstudy.report.figures import write_figures
from alignstudy.report.html.page import render_report
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.markdown.page import render_markdown
from alignstudy.report.stored import (
    REPORT_DATA,
    STATISTICS,
    read_report_inputs,
    write_findings,
    write_report_data,
)
from alignstudy.report.tables.budget import budget_table
from alignstudy.report.tables.tuning import trials_table
from alignstudy.report.tables.write import write_table
from alignstudy.runtime.files import entries
from alignstudy.runtime.recorded import record_of
from alignstudy.sources import home_path
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.results import Run
from alignstudy.study.run.pieces import Piece
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder
from alignstudy.study.run.store import disk_faults
from alignstudy.version import __version__

REPORT, MARKDOWN, TABLES = "report.html", "report.md", "tables"
TUNING_TABLES = (f"{TABLES}/tuning.csv", f"{TABLES}/tuning.md")
"""Of a study that tunes its methods; they lie beside the comparison's tables."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage cycles while the block runs: rows are made once and kept to the end.

    Going through them again and again took a sixth of the time of a large evaluation.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def write_report(inputs: ReportInputs, folder: Path) -> None:
    """Write figures/, both reports, data/report.json, and tables of a budget and of trials."""
    figures = write_figures(inputs.findings, inputs.responses, inputs.training, folder / "figures")
    whole = replace(inputs, figures=figures)
    (folder / REPORT).write_text(render_report(whole), encoding="utf-8")
    (folder / MARKDOWN).write_text(render_markdown(whole), encoding="utf-8")
    write_report_data(whole, folder / REPORT_DATA)
    if inputs.budget:
        write_table(budget_table(inputs.budget), folder / TABLES)
    if inputs.tuning:
        write_table(trials_table(inputs.tuning), folder / TABLES)


def rebuild(run: str | Path) -> Run:
    """Draw figures and write the reports of a finished run again, from its folder alone.

    Raises:
        InputError: If the folder holds no finished run of this version's layout.
        DamagedArtefactError: If what the report says was changed since the run placed it.
        LockHeldError: If another process works on the run.
    """
    path = home_path(run).absolute()
    folder = RunFolder(path=path)
    folder.check(STATISTICS, REPORT_DATA, "responses")
    inputs = read_report_inputs(path)
    with folder.locked(), tempfile.TemporaryDirectory() as scratch:
        with disk_faults(scratch):
            write_report(inputs, Path(scratch))
        notes = folder.place(_made(Path(scratch)), study=folder.placed().study, instead=["figures"])
    return Run(folder=path, notes=tuple(notes))


def _made(folder: Path) -> list[Piece]:
    return [
        Piece(target=name, content=folder / name, record=record_of(folder / name))
        for name, _ in entries(folder)
    ]


def write_run(
    folder: RunFolder,
    name: str,
    rows: Sequence[ScoredResponse],
    findings: Findings,
    provenance: dict[str, Any],
    *,
    protocol: Literal["paper", "rigorous"] | None = None,
) -> None:
    """Write a run folder where nothing was trained; a fault leaves it as it was."""
    inputs = ReportInputs(
        study=name,
        settings={},
        protocol=protocol,
        findings=findings,
        responses=tuple(rows),
        provenance={"alignstudy": __version__, **provenance},
    )
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        with disk_faults(scratch):
            write_findings(inputs.findings, inputs.responses, made)
            write_report(inputs, made)
        folder.place(_made(made), study=digest(inputs.provenance), instead=[""])
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    folder.write(PROVENANCE, json.dumps({**inputs.provenance, "ended": ended}, indent=2) + "\n")
