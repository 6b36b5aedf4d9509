"""Stages that deal with judges themselves: thresholds chosen, judges evaluated."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from alignstudy.errors import GuardError
from alignstudy.judges import Judge, JudgeSettings, build, code_of
from alignstudy.judges.quality.assess import assess
from alignstudy.judges.quality.calibrate import as_judged, best_threshold, threshold_draws
from alignstudy.judges.quality.probes import PROBES
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.metrics.axes import place_of
from alignstudy.models.encoders.renderings import RENDERINGS, choose_rendering
from alignstudy.progress import Progress
from alignstudy.records import DECIMALS, Pair
from alignstudy.records.evidence import JudgeQuality, quality_from_json, quality_to_json
from alignstudy.sources import ResolvedSource
from alignstudy.study.cost.memory import Footprint
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.cost.token_lengths import Text, token_lengths
from alignstudy.study.cost.work import LONG_TEXT, ROWS_AT_ONCE, Passes, total_flops
from alignstudy.study.graph.fingerprint import NOT_IN_KEY
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.settings.axes import Limits
from alignstudy.study.stages.data import (
    CALIBRATION_PAIRS,
    VALIDATION_PAIRS,
    SelectPrompts,
    read_pairs,
    write_json,
)

CALIBRATION = "calibration.json"
THRESHOLDS = "thresholds.json"
THRESHOLD_DRAWS = 500
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
        code: What names the code that its scores depend on: a Python judge's source by its hash.
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
        """Load the judge; refuse a Python judge that was edited since the keys were made."""
        settings = self.settings
        if self.calibration is not None:
            chosen = read_calibration_result(job.folder_of(self.calibration))["rendering"]["chosen"]
            settings = settings.model_copy(update={"rendering": chosen})
        judge = build(settings, self.place(job.folder_of), job.device, workers=job.workers)
        if code_of(self.settings, self.folder) != self.code:
            raise GuardError(
                f"the source of the {self.settings.use} judge changed during the run",
                why="its scores would be kept, and used again, as those of the former source",
                hint="run the same command again: it goes on with the source as it is now",
            )
        return judge

    def place(self, folder_of: FolderOf) -> Path | None:
        """Return the folder of its weights, or of its module."""
        if self.model is None:
            return self.folder
        return folder_of(self.model) if isinstance(self.model, Stage) else self.model.path


class JudgeStage(Stage):
    """A stage in which a judge reads texts."""

    shows_the_model: ClassVar[bool] = False

    judge: JudgeSpec

    def passes_over(
        self, texts: list[Text], folder_of: FolderOf, *, more: int = 0, times: float = 1.0
    ) -> list[Passes]:
        """Count a pass over each text; [] of a judge without a model of its own.

        Args:
            texts: Prompts and responses, as the judge is given them.
            folder_of: Returns the model's folder.
            more: Tokens of a response that isn't known yet.
            times: How often each text is read.
        """
        folder = self.judge.place(folder_of)
        if self.judge.model is None or folder is None or not texts:
            return []
        most = getattr(self.judge.settings, "max_length", None) or math.inf
        found = token_lengths(folder, texts, special=True)
        tokens = sum(min(most, length + more) for length in found)
        shape, mean = read_shape(folder), tokens / len(found)
        return [Passes(shape=shape, tokens=tokens, context=mean, times=times)]

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Count a pass over every text that the judge read now, not those whose score was kept."""
        folder, texts = self.judge.place(folder_of), found.get("texts", 0)
        if self.judge.model is None or folder is None or not texts:
            return {}
        tokens, shape = found.get("tokens", 0), read_shape(folder)
        flops = total_flops([Passes(shape=shape, tokens=tokens, context=tokens / texts)])
        return {} if flops is None else {"flops": flops}

    def footprint(self) -> Footprint | None:
        """Count the judge's weights and a batch; None where its model isn't on this machine."""
        model = self.judge.model
        if model is None:
            return Footprint()
        shape = model.model_shape() if isinstance(model, Stage) else read_shape(model.path)
        length = getattr(self.judge.settings, "max_length", None) or LONG_TEXT
        if shape is None:
            return None
        dtype = getattr(self.judge.settings, "dtype", "float32")
        return Footprint(shape=shape, rows=ROWS_AT_ONCE, length=length, dtype=dtype)

    def likeness(self) -> str:
        """Name the kind of judge, too."""
        return f"{super().likeness()} {self.judge.settings.use}"


@dataclass(frozen=True, kw_only=True)
class Calibrate(JudgeStage):
    """Choose a judge's thresholds on labelled pairs that hold no evaluation prompt."""

    kind: ClassVar[str] = "calibrate"
    version: ClassVar[int] = 2
    numeric: ClassVar[bool] = True
    prompts: SelectPrompts
    judge: JudgeSpec
    protocol: Protocol

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write calibration.json (threshold and accuracy by axis), and what other pairs give."""
        pairs = _measured(self, job.folder_of, CALIBRATION_PAIRS)
        spec, found = self.judge, {}
        if getattr(spec.settings, "rendering", "") == AUTO:
            spec, found["rendering"] = self._with_rendering(pairs, job)
        judge, others = spec.build(job), {}
        for axis, rows in pairs.items():
            scores = _finite(_pair_scores(judge, rows, self.protocol, job.progress), axis)
            others[axis] = threshold_draws(*scores, draws=THRESHOLD_DRAWS, seed=place_of(axis))
            found[axis] = asdict(best_threshold(*scores))
        write_json(job.out / CALIBRATION, found)
        write_json(job.out / THRESHOLDS, others)
        return read_by(judge)

    def planned_work(self, folder_of: FolderOf) -> list[Passes]:
        """Count both responses of each pair, once more for every rendering that is tried."""
        pairs = _measured(self, folder_of, CALIBRATION_PAIRS)
        tried = len(RENDERINGS) if getattr(self.judge.settings, "rendering", "") == AUTO else 0
        return self.passes_over(_texts(pairs, self.protocol), folder_of, times=1.0 + tried)

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
        found = {"chosen": chosen, "accuracy": accuracies}
        return replace(self.judge, settings=settings), found


def read_by(judge: Judge) -> dict[str, Any]:
    """Return how many texts and tokens went through a judge's model; {} of one without a model."""
    names = {"texts": "texts_read", "tokens": "tokens_read"}
    return {name: getattr(judge, own) for name, own in names.items() if hasattr(judge, own)}


def _measured(stage: Calibrate | Assess, folder_of: FolderOf, part: str) -> dict[str, list[Pair]]:
    """Read the pairs of the axes that a stage's judge may score."""
    pairs = read_pairs(folder_of(stage.prompts), part)
    return {axis: rows for axis, rows in pairs.items() if axis in stage.judge.axes}


def _texts(pairs: dict[str, list[Pair]], protocol: Protocol) -> list[Text]:
    return [item for rows in pairs.values() for pair in rows for item in as_judged(pair, protocol)]


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


def read_threshold_draws(folder: Path) -> dict[str, tuple[float, ...]]:
    """Read a finished Calibrate: by axis, the thresholds that other pairs would have given."""
    found = json.loads((folder / THRESHOLDS).read_text(encoding="utf-8"))
    return {axis: tuple(draws) for axis, draws in found.items()}


@dataclass(frozen=True, kw_only=True)
class Assess(JudgeStage):
    """Evaluate a judge on held-out preference pairs and on control texts.

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
        judge, limits = self.judge.build(job), dict(self.limits)
        if self.calibration is not None:
            facts = read_calibration_result(job.folder_of(self.calibration))
            for axis in (axis for axis in self.judge.axes if axis not in limits):
                limits[axis] = facts.get(axis, {}).get("threshold")
        quality = assess(
            judge,
            self.label,
            _measured(self, job.folder_of, VALIDATION_PAIRS),
            thresholds=limits,
            protocol=self.protocol,
            settings=self.settings,
            progress=job.progress,
            inclusive=self.inclusive,
            notes=self.notes,
        )
        write_json(job.out / QUALITY, quality_to_json(quality))
        return {"below_floor": list(quality.below_floor), **read_by(judge)}

    def planned_work(self, folder_of: FolderOf) -> list[Passes]:
        """Count both responses of each pair, and control texts that are as long."""
        pairs = _measured(self, folder_of, VALIDATION_PAIRS)
        texts, asked = _texts(pairs, self.protocol), self.settings
        controls = len(PROBES) * sum(min(asked.probes, len(rows)) for rows in pairs.values())
        times = 1.0 + (controls + 2 * asked.batch_check) / max(1, len(texts))
        return self.passes_over(texts, folder_of, times=times)


def read_quality(folder: Path) -> JudgeQuality:
    """Read a finished Assess."""
    return quality_from_json(json.loads((folder / QUALITY).read_text(encoding="utf-8")))
