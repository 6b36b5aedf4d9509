"""What goes from artefacts into the folder that people read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from alignstudy.errors import GuardError
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.run_folder import Export, RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.stages.compare import INCOMPLETE
from alignstudy.study.stages.train import Train


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
            name = f"{export.target}/adapter_config.json"
            config = json.loads((folder.path / name).read_text(encoding="utf-8"))
            config["base_model_name_or_path"] = str(folder.path / places[stage.parent.key])
            folder.write(name, json.dumps(config, indent=2) + "\n")
    # Models that an earlier version of the study showed, and this one doesn't have:
    shown = {folder.path / export.target for export in wanted if export.source == ""}
    keep = shown | {parent for path in shown for parent in path.parents}
    models = folder.path / "models"
    if not shown or not models.is_dir():
        return
    for path in [*models.glob("*/seed-*"), *models.glob("_bases/*"), *models.iterdir()]:
        if path.is_dir() and path not in keep and not any(p in shown for p in path.parents):
            shutil.rmtree(path)


def refuse_incomplete(stages: Sequence[Stage], runner: Runner, folder: Path) -> None:
    """Refuse to call a run done whose judges left out more than they may; all is written.

    Raises:
        GuardError: Naming judge, model and prompts.
    """
    for stage in stages:
        incomplete = runner.finished(stage).get(INCOMPLETE, ())
        if incomplete:
            raise GuardError(
                "the comparison is incomplete: " + "; ".join(incomplete),
                why="rates over what is left are not rates over the prompts that were asked",
                hint="use another judge or precision, or score what the judge can read",
                kept=f"everything, in {folder}: figures and report show what is missing",
            )
