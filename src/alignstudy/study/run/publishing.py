"""What goes from artefacts into the folder that people read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alignstudy.errors import DamagedArtefactError, GuardError
from alignstudy.redaction import REDACTED, redacted
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.pieces import Export, Piece, pieces_of, text_piece
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.settings.load import resolved_yaml
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.compare import INCOMPLETE
from alignstudy.study.stages.train import Train


@dataclass(frozen=True, kw_only=True)
class StudyTexts:
    """A study as its run folder shows it, beside its results.

    Attributes:
        digest: Of its settings.
        files: By name: as written, and with every default written out.
        notes: What a person should know of them.
    """

    digest: str
    files: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: StudySettings, text: str) -> StudyTexts:
        """Return a study's texts, secrets taken out: as it was written, and every setting of it."""
        given = {"study.yaml": text, "resolved.yaml": resolved_yaml(settings)}
        files = {name: redacted(text) for name, text in given.items()}
        notes = tuple(
            f"{name} is kept without what looks like a secret ({REDACTED} stands for it): name an"
            " environment variable, or log in, and take it out of the study"
            for name in files
            if files[name] != given[name]
        )
        return cls(digest=digest(settings.model_dump(mode="json")), files=files, notes=notes)

    @property
    def pieces(self) -> list[Piece]:
        """Return the files to place."""
        return [text_piece(name, text) for name, text in self.files.items()]

    def place_first(self, folder: RunFolder) -> list[str]:
        """Place them before anything runs, unless the folder shows results of other settings.

        Those keep theirs until results of these settings take their places.
        """
        try:
            there = folder.placed()
        except DamagedArtefactError:  # told where results are placed
            return []
        if there.shows_results and there.study != self.digest:
            return []
        return folder.place(self.pieces, study=self.digest)


def with_bases(exports: Sequence[Export]) -> list[Export]:
    """Return exports, and after them the bases of adapters that aren't shown anyway."""
    wanted = [*exports]
    shown = {export.stage.key for export in exports if export.source == ""}
    for stage in (export.stage for export in exports):
        if isinstance(stage, Train) and stage.is_adapter and stage.parent.key not in shown:
            shown.add(stage.parent.key)
            target = f"models/_bases/{stage.parent.name.replace('/', '-')}"
            wanted.append(Export(stage=stage.parent, source="", target=target))
    return wanted


def place_all(
    folder: RunFolder, exports: Sequence[Export], runner: Runner, texts: StudyTexts, *, whole: bool
) -> None:
    """Place what a study shows, its settings with it; an adapter's base is named by its place.

    Args:
        folder: Held by this process.
        exports: Of the stages that were asked for, bases among them.
        runner: What made them.
        texts: Of the study.
        whole: Whether these are all that the study shows: what else was placed before goes.
    """
    places = {export.stage.key: export.target for export in exports if export.source == ""}
    pieces = texts.pieces
    for export in exports:
        stage, config = export.stage, f"{export.target}/adapter_config.json"
        found = list(pieces_of(export, runner.make(stage)))
        if export.source == "" and isinstance(stage, Train) and stage.is_adapter:
            base = str(folder.path / places[stage.parent.key])
            found = [_based(each, base) if each.target == config else each for each in found]
        pieces += found
    instead = [""] if whole else [export.target for export in exports]
    for note in folder.place(pieces, study=texts.digest, instead=instead):
        runner.say(note)


def _based(adapter_config: Piece, base: str) -> Piece:
    """Return an adapter's configuration with its base where the run folder shows it."""
    assert isinstance(adapter_config.content, Path)
    config = json.loads(adapter_config.content.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    text = json.dumps(config, indent=2) + "\n"
    return text_piece(adapter_config.target, text, of=adapter_config.of)


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
