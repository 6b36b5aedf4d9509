"""Stages that make rows: the world, the prompts, the parts of the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.data.audit.audit import length_facts, loss_in_words
from alignstudy.data.contamination.exclusion import (
    SHARES_CALIBRATION,
    SHARES_VALIDATION,
    EvaluationDialogues,
)
from alignstudy.data.contamination.overlap import Overlap, overlap
from alignstudy.data.files.reading import Reading
from alignstudy.data.select.collect import COLLECTORS, Kind
from alignstudy.data.select.held_out import (
    CalibrationSettings,
    HeldOutPairs,
    ValidationSettings,
    select_held_out,
)
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.selection import RowSelection
from alignstudy.data.world.generate import WorldSettings, write_world
from alignstudy.errors import due_to
from alignstudy.metrics.axes import axis_named, in_order
from alignstudy.records import (
    Audit,
    Axis,
    Pair,
    Quarantined,
    read_rows,
    write_rows,
)
from alignstudy.sources import ResolvedSource
from alignstudy.study.cost.memory import Footprint
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.stages.sources import PROMPTS, ROWS, PromptSource, RowSource, read_prompts

AUDITS = "audits.jsonl"
FACTS = "facts.json"
OVERLAP = "overlap.json"

CALIBRATION_PAIRS, VALIDATION_PAIRS = "calibration", "validation"
TRAIN, RATED = TRAINING_PARTS = ("train", "train/rated")
"""The parts of the data that recipes train on: pairs (or demonstrations), responses one by one."""
KINDS: Mapping[str, Kind] = {"pretrain": "documents", RATED: "rated"}
"""What rows of a part are, where they aren't pairs."""


@dataclass(frozen=True, kw_only=True)
class WriteWorld(Stage):
    """Write the demo's small world in the layout of the hub's HH-RLHF."""

    kind: ClassVar[str] = "world"
    settings: WorldSettings

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write the files."""
        write_world(self.settings, job.out)
        return {}


DataSource = ResolvedSource | WriteWorld


def _path(source: DataSource, job: StageJob) -> Path:
    return job.folder_of(source) if isinstance(source, Stage) else source.path


@dataclass(frozen=True, kw_only=True)
class SelectPrompts(PromptSource):
    """Select the evaluation prompts, and labelled pairs to calibrate and to judge judges on.

    Attributes:
        files: By axis, of the prompts that are in a file of their own.
        calibrated: The axes whose thresholds are chosen on labelled pairs.
    """

    version: ClassVar[int] = 2
    source: DataSource
    reading: Reading
    settings: PromptSettings
    files: dict[str, ResolvedSource]
    calibrated: tuple[str, ...]
    calibration: CalibrationSettings | None
    validation: ValidationSettings | None

    @property
    def expected(self) -> int:
        """How many are asked for."""
        return sum(chosen.size for chosen in self.settings.sets.values())

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write prompts/*.json as published, prompts.jsonl, <part>-<axis>.jsonl."""
        with due_to("data", "source"):
            return self._select(_path(self.source, job), job)

    def _select(self, path: Path, job: StageJob) -> dict[str, Any]:
        files = {axis: source.path for axis, source in self.files.items()}
        selected = select_prompts(path, self.settings, how=self.reading, files=files)
        write_rows(job.out / PROMPTS, selected.prompts)
        for axis in dict.fromkeys(prompt.axis for prompt in selected.prompts):
            texts = [prompt.text for prompt in selected.prompts if prompt.axis == axis]
            write_json(job.out / "prompts" / f"{axis_named(axis).prompts}.json", texts)
        audits, taken = list(selected.audits), selected.dialogues
        if self.calibration is not None:
            axes = [axis for axis in self.settings.sets if axis.name in self.calibrated]
            found = select_held_out(
                path, self.calibration, axes=axes, how=self.reading, exclude=taken
            )
            audits += _write_pairs(found, CALIBRATION_PAIRS, job.out)
            taken = taken | found.dialogues
        if self.validation is not None:
            drawn = read_pairs(job.out, CALIBRATION_PAIRS)
            axes = [axis for axis in self.settings.sets if self.validation.has(axis)]
            same = [axis.name for axis in axes if self._is_calibrated_on(axis, drawn)]
            for name in same:
                write_rows(job.out / f"{VALIDATION_PAIRS}-{name}.jsonl", drawn[name])
            axes = [axis for axis in axes if axis.name not in same]
            held = select_held_out(
                path, self.validation, axes=axes, how=self.reading, exclude=taken
            )
            audits += _write_pairs(held, VALIDATION_PAIRS, job.out)
        write_rows(job.out / AUDITS, audits)
        return {"prompts": len(selected.prompts)}

    def _is_calibrated_on(self, axis: Axis, drawn: dict[str, list[Pair]]) -> bool:
        """Whether an axis' validation pairs are the very ones of its calibration."""
        if self.calibration is None or self.validation is None or axis.name not in drawn:
            return False
        return self.validation.selection(axis) == self.calibration.selection(axis)


def _write_pairs(found: HeldOutPairs, part: str, out: Path) -> tuple[Audit, ...]:
    for axis, rows in found.pairs.items():
        write_rows(out / f"{part}-{axis}.jsonl", rows)
    return found.audits


def read_pairs(folder: Path, part: str) -> dict[str, list[Pair]]:
    """Read the pairs of one part of a finished SelectPrompts, by axis."""
    names = {path.stem.removeprefix(f"{part}-"): path for path in folder.glob(f"{part}-*.jsonl")}
    return {
        axis.name: list(read_rows(names[axis.name], Pair))
        for axis in in_order(axis_named(name) for name in sorted(names))
    }


def read_held_out(prompts: SelectPrompts | None, folder_of: FolderOf) -> list[Pair]:
    """Read pairs that no training sees: the validation's, else the calibration's, of all axes.

    Args:
        prompts: What sets them aside; None: nothing does.
        folder_of: Returns its finished folder.
    """
    if prompts is None:
        return []
    parts = (read_pairs(folder_of(prompts), part) for part in (VALIDATION_PAIRS, CALIBRATION_PAIRS))
    found = next((part for part in parts if any(part.values())), {})
    return [pair for pairs in found.values() for pair in pairs]


@dataclass(frozen=True, kw_only=True)
class CollectRows(RowSource):
    """Collect one part of the data: parsed, audited, kept apart from the evaluation prompts."""

    version: ClassVar[int] = 2  # gold responses
    source: DataSource
    reading: Reading
    selection: RowSelection
    part: str
    prompts: SelectPrompts
    keep_overlap: bool

    @property
    def most(self) -> int | None:
        """As many as are to be drawn."""
        return self.selection.max_rows

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write rows.jsonl and what was left out."""
        folder = job.folder_of(self.prompts)
        prompts = read_prompts(folder)
        held_out = EvaluationDialogues.of_prompts(prompts)
        reasons = {CALIBRATION_PAIRS: SHARES_CALIBRATION, VALIDATION_PAIRS: SHARES_VALIDATION}
        for part, reason in reasons.items():
            rows = (pair for found in read_pairs(folder, part).values() for pair in found)
            held_out = held_out | EvaluationDialogues.of_pairs(rows, reason=reason)
        with due_to("data", *(["train"] if self.part in TRAINING_PARTS else [])):
            collected = COLLECTORS[self.rows](
                _path(self.source, job),
                self.selection,
                part=self.part,
                how=self.reading,
                exclude=None if self.keep_overlap else held_out,
            )
        audit = collected.audit
        if lost := loss_in_words(audit):
            job.progress.note(f"warning: {lost}")
        if self.keep_overlap:
            shared = Counter(held_out.reason_against(row) for row in collected.rows)
            kept = {f"kept although it {why}": n for why, n in shared.items() if why}
            audit = replace(audit, notes={**audit.notes, **kept})
        write_rows(job.out / ROWS, collected.rows)
        write_rows(job.out / AUDITS, [audit])
        write_json(job.out / FACTS, length_facts(collected.rows))
        write_json(job.out / OVERLAP, asdict(overlap(prompts, collected.rows)))
        return {"rows": len(collected.rows)}

    def footprint(self) -> Footprint:
        """Count the source's files: the rows hardly take more."""
        if isinstance(self.source, Stage):
            return self.source.footprint() or Footprint()
        path = self.source.path
        sizes = (file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
        return Footprint(text=float(sum(sizes)))


def read_overlap(folder: Path) -> Overlap:
    """Read which evaluation prompts a finished CollectRows found among its rows."""
    found = json.loads((folder / OVERLAP).read_text(encoding="utf-8"))
    lists = {name: tuple(found[name]) for name in ("exact", "dialogue", "ngram13")}
    return Overlap(**lists, checked=found["checked"], prompts=found["prompts"])


def read_audits(folder: Path) -> list[Audit]:
    """Read the audits of a finished stage."""
    found = []
    for audit in read_rows(folder / AUDITS, Audit):
        as_read: Iterable[Any] = audit.quarantined  # plain dicts as yet
        found.append(replace(audit, quarantined=tuple(Quarantined(**row) for row in as_read)))
    return found


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - JSON
    """Write JSON for people and scripts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, ensure_ascii=False, default=asdict)
    path.write_text(text + "\n", encoding="utf-8")
