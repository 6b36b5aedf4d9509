"""Stages that deal with judges themselves: thresholds chosen, judges judged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from alignstudy.errors import GuardError
from alignstudy.judges import Judge, JudgeSettings, build, code_of
from alignstudy.judges.encoders.renderings import RENDERINGS, choose_rendering
from alignstudy.judges.quality.assess import (
    AssessSettings,
    as_judged,
    assess,
    quality_from_json,
    quality_to_json,
)
from alignstudy.judges.quality.calibrate import best_threshold
from alignstudy.progress import Progress
from alignstudy.records import DECIMALS, Pair
from alignstudy.records.evidence import JudgeQuality
from alignstudy.sources import ResolvedSource
from alignstudy.study.graph.fingerprint import NOT_IN_KEY
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.settings.axes import Limits
from alignstudy.study.stages.data import (
    SelectPrompts,
    read_calibration,
    read_validation,
    write_json,
)

CALIBRATION = "calibration.json"
QUALITY = "quality.json"
AUTO = "auto"

Protocol = Literal["paper", "rigorous"]
JudgeModel = Stage | ResolvedSource | None


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """A judge as stages read it.

    Attributes:
        settings: Of its kind.
        model: Its weights; None for a rule.
        axes: Names of the axes whose responses it may score.
        code: What names the code that its scores hang on: a Python judge's source by its hash.
        folder: Where a Python judge's module is looked for first: the study file's folder.
        calibration: Where the rendering of multi-turn prompts was chosen, if it was.
    """

    settings: JudgeSettings
    model: JudgeModel
    axes: tuple[str, ...]
    code: str = ""
    calibration: Calibrate | None = None
    folder: Path | None = field(default=None, metadata=NOT_IN_KEY)

    def build(self, job: StageJob) -> Judge:
        """Load the judge."""
        settings = self.settings
        if self.calibration is not None:
            chosen = read_calibration_result(job.folder_of(self.calibration))["rendering"]["chosen"]
            settings = settings.model_copy(update={"rendering": chosen})
        judge = build(settings, self._place(job), job.device, workers=job.workers)
        self._refuse_changed_code()
        return judge

    def _refuse_changed_code(self) -> None:
        """Refuse a Python judge that was edited since the keys were made: its scores would lie."""
        if code_of(self.settings, self.folder) != self.code:
            raise GuardError(
                f"the source of the {self.settings.use} judge changed during the run",
                why="its scores would be kept, and used again, as those of the former source",
                hint="run the same command again: it goes on with the source as it is now",
            )

    def _place(self, job: StageJob) -> Path | None:
        """Return the folder of its weights, or of its module."""
        if self.model is None:
            return self.folder
        return job.folder_of(self.model) if isinstance(self.model, Stage) else self.model.path


@dataclass(frozen=True, kw_only=True)
class Calibrate(Stage):
    """Choose a judge's thresholds on labelled pairs that hold no evaluation prompt."""

    kind: ClassVar[str] = "calibrate"
    numeric: ClassVar[bool] = True
    prompts: SelectPrompts
    judge: JudgeSpec
    protocol: Protocol

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write calibration.json: threshold and accuracy by axis, and the rendering if chosen."""
        pairs = _measured(read_calibration(job.folder_of(self.prompts)), self.judge)
        spec, found = self.judge, {}
        if getattr(spec.settings, "rendering", "") == AUTO:
            spec, found["rendering"] = self._with_rendering(pairs, job)
        judge = spec.build(job)
        for axis, rows in pairs.items():
            scores = _pair_scores(judge, rows, self.protocol, job.progress)
            found[axis] = asdict(best_threshold(*_finite(scores, axis)))
        write_json(job.out / CALIBRATION, found)
        return read_by(judge)

    def _with_rendering(
        self, pairs: dict[str, list[Pair]], job: StageJob
    ) -> tuple[JudgeSpec, dict[str, Any]]:
        """Choose how multi-turn prompts are rendered, by accuracy on the calibration pairs."""
        rows = [pair for found in pairs.values() for pair in found]
        scores = {}
        for name in RENDERINGS:
            settings = self.judge.settings.model_copy(update={"rendering": name})
            judge = replace(self.judge, settings=settings).build(job)
            given = _pair_scores(judge, rows, self.protocol, job.progress)
            scores[name] = list(zip(given[::2], given[1::2], strict=True))
        chosen, accuracies = choose_rendering(scores)
        settings = self.judge.settings.model_copy(update={"rendering": chosen})
        spec = replace(self.judge, settings=settings)
        return spec, {"chosen": chosen, "accuracy": accuracies}


def read_by(judge: Judge) -> dict[str, Any]:
    """Return how many texts and tokens went through a judge's model; {} of one without a model."""
    names = {"texts": "texts_read", "tokens": "tokens_read"}
    return {name: getattr(judge, own) for name, own in names.items() if hasattr(judge, own)}


def _measured(pairs: dict[str, list[Pair]], judge: JudgeSpec) -> dict[str, list[Pair]]:
    """Return the pairs of the axes that a judge may score."""
    return {axis: rows for axis, rows in pairs.items() if axis in judge.axes}


def _pair_scores(
    judge: Judge, pairs: list[Pair], protocol: Protocol, progress: Progress
) -> list[float | None]:
    """Score chosen and rejected of each pair in turn, rounded as all scores are."""
    items = [item for pair in pairs for item in as_judged(pair, protocol)]
    scores = [given.score for given in judge.score(items, progress=progress)]
    return [None if score is None else round(score, DECIMALS) for score in scores]


def _finite(scores: list[float | None], axis: str) -> tuple[list[float], list[float]]:
    """Split scores into chosen and rejected, leaving pairs out where one is missing."""
    pairs = list(zip(scores[::2], scores[1::2], strict=True))
    whole = [(c, r) for c, r in pairs if c is not None and r is not None]
    if len(whole) < 0.99 * len(pairs):
        raise GuardError(
            f"the judge gave no finite score on {len(pairs) - len(whole)} of {len(pairs)}"
            f" calibration pairs ({axis})",
            why="thresholds chosen on the rest would not be the judge's",
            hint="use another judge, or give thresholds as numbers",
        )
    return [c for c, _ in whole], [r for _, r in whole]


def read_calibration_result(folder: Path) -> dict[str, dict[str, Any]]:
    """Read a finished Calibrate: facts by axis, and "rendering" where it was chosen."""
    return dict(json.loads((folder / CALIBRATION).read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class Assess(Stage):
    """Judge a judge: on held-out preference pairs and on control texts.

    Attributes:
        label: The judge's name in the study.
        limits: Its thresholds as numbers, of the axes that are not calibrated.
        notes: Why it may not be independent of the models.
    """

    kind: ClassVar[str] = "assess"
    numeric: ClassVar[bool] = True
    label: str
    prompts: SelectPrompts
    judge: JudgeSpec
    limits: Limits
    inclusive: bool
    calibration: Calibrate | None
    settings: AssessSettings
    protocol: Protocol
    notes: tuple[str, ...] = ()

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write quality.json.

        Raises:
            GuardError: If the judge ranks the wrong way round.
        """
        judge = self.judge.build(job)
        quality = assess(
            judge, self.label,
            _measured(read_validation(job.folder_of(self.prompts)), self.judge),
            thresholds=self._thresholds(job), protocol=self.protocol, settings=self.settings,
            progress=job.progress, inclusive=self.inclusive, notes=self.notes,
        )  # fmt: skip
        write_json(job.out / QUALITY, quality_to_json(quality))
        return {"below_floor": list(quality.below_floor), **read_by(judge)}

    def _thresholds(self, job: StageJob) -> Limits:
        found: Limits = dict(self.limits)
        if self.calibration is not None:
            facts = read_calibration_result(job.folder_of(self.calibration))
            for axis in (axis for axis in self.judge.axes if axis not in found):
                found[axis] = facts.get(axis, {}).get("threshold")
        return found


def read_quality(folder: Path) -> JudgeQuality:
    """Read a finished Assess."""
    return quality_from_json(json.loads((folder / QUALITY).read_text(encoding="utf-8")))
