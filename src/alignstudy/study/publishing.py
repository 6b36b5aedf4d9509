"""What goes from artefacts, or from given ratings, into the folder that people read."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import alignstudy
from alignstudy.errors import DataError
from alignstudy.records import ScoredResponse
from alignstudy.report.analysis import Analysis, Thresholds, analyse
from alignstudy.report.exports import write_classifications, write_responses
from alignstudy.report.figures import write_figures
from alignstudy.report.html import render_report
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.ratings import find_base, read_ratings
from alignstudy.report.tables import write_tables
from alignstudy.sources import digest_of
from alignstudy.study.runfolder import PROVENANCE, Export, RunFolder
from alignstudy.study.runner import Runner
from alignstudy.study.stages.train import Train
from alignstudy.study.store import disk_faults


def show_all(folder: RunFolder, exports: Sequence[Export], runner: Runner) -> None:
    """Show every export; an adapter's base is shown too, and named by its place."""
    wanted = [*exports]
    places = {export.stage.key: export.target for export in exports if export.source == ""}
    for export in exports:
        stage = export.stage
        if isinstance(stage, Train) and stage.is_adapter and stage.parent.key not in places:
            target = f"models/_bases/{stage.parent.name.replace('/', '-')}"
            places[stage.parent.key] = target
            wanted.append(Export(stage=stage.parent, source="", target=target))
    for export in wanted:
        folder.show(export, runner.make(export.stage))
        stage = export.stage
        if export.source == "" and isinstance(stage, Train) and stage.is_adapter:
            _name_base(folder, export.target, places[stage.parent.key])
    _remove_other_models(folder, {export.target for export in wanted if export.source == ""})


def _name_base(folder: RunFolder, adapter: str, base: str) -> None:
    """Write the base's place in this run folder into an adapter's configuration."""
    name = f"{adapter}/adapter_config.json"
    config = json.loads((folder.path / name).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(folder.path / base)
    folder.write(name, json.dumps(config, indent=2) + "\n")


def _remove_other_models(folder: RunFolder, targets: set[str]) -> None:
    """Remove models that an earlier version of the study showed and this one doesn't have."""
    shown = {folder.path / target for target in targets}
    keep = shown | {parent for path in shown for parent in path.parents}
    models = folder.path / "models"
    if not shown or not models.is_dir():
        return
    for path in [*models.glob("*/seed-*"), *models.glob("_bases/*"), *models.iterdir()]:
        if path.is_dir() and path not in keep and not any(p in shown for p in path.parents):
            shutil.rmtree(path)


def publish_ratings(
    ratings: Path, folder: RunFolder, *, base: str | None, thresholds: tuple[float, float]
) -> None:
    """Write tables, figures and report of responses that already have ratings.

    Raises:
        DataError: Naming the file and row that can't be used.
    """
    rows = read_ratings(ratings)
    judge = _only_judge(rows, ratings)
    base = find_base(rows, base)
    harmless, helpful = thresholds
    origin = {"harmless": "given", "helpful": "given"}
    limits = Thresholds(harmless=harmless, helpful=helpful, origin=origin)
    analysis = analyse(rows, limits, judge=judge, base=base)
    _write_ratings_run(ratings, folder, rows, analysis)


def _only_judge(rows: Sequence[ScoredResponse], ratings: Path) -> str:
    names = {name for row in rows for name in row.scores}
    if len(names) != 1:
        raise DataError(f"{ratings} holds ratings of {len(names)} judges; one is needed")
    return names.pop()


def _write_ratings_run(
    ratings: Path, folder: RunFolder, rows: Sequence[ScoredResponse], analysis: Analysis
) -> None:
    with disk_faults(f"the folder {folder.path}"), tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        for name in ("tables", "responses", "classification"):
            (made / name).mkdir()
        write_tables(analysis, made / "tables")
        write_responses(rows, analysis.judge, made / "responses")
        write_classifications(rows, analysis.judge, analysis.thresholds, made / "classification")
        figures = write_figures(analysis, rows, (), made / "figures")
        provenance = {
            "alignstudy": alignstudy.__version__,
            "ratings": str(ratings),
            "ratings_sha256": digest_of(ratings),
        }
        report = render_report(
            ReportInputs(
                study=ratings.name, settings={}, protocol=None, analyses=(analysis,),
                responses=tuple(rows), figures=figures, provenance=provenance,
            )
        )  # fmt: skip
        (made / "report.html").write_text(report, encoding="utf-8")
        statistics = json.dumps(analysis.to_json(), indent=2, ensure_ascii=False) + "\n"
        (made / "statistics.json").write_text(statistics, encoding="utf-8")
        shutil.copytree(made, folder.path, dirs_exist_ok=True)
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    folder.write(PROVENANCE, json.dumps({**provenance, "ended": ended}, indent=2) + "\n")
