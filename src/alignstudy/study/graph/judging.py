"""The judges of a study as stages: scores, thresholds, and what the judges are worth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from alignstudy.errors import InputError
from alignstudy.judges import code_of
from alignstudy.judges.base import measured_axes
from alignstudy.judges.presets import independence_notes
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.axes import Limits, SweepSettings
from alignstudy.study.settings.judges import JudgeEntry
from alignstudy.study.settings.ranking import default_ranker
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.data import SelectPrompts
from alignstudy.study.stages.generate import Generate, ScoreResponses
from alignstudy.study.stages.score import AUTO, Assess, Calibrate, JudgeModel, JudgeSpec


@dataclass(frozen=True)
class JudgeStages:
    """All judges that could be had, in the study's order, each with its weights.

    Attributes:
        folder: Of the study file: a Python judge's module is looked for there first.
    """

    settings: StudySettings
    prompts: SelectPrompts
    device_class: str
    judges: tuple[tuple[JudgeEntry, JudgeModel], ...]
    folder: Path | None

    @property
    def names(self) -> tuple[str, ...]:
        """The judges' names."""
        return tuple(judge.name for judge, _ in self.judges)

    @property
    def limits(self) -> tuple[Limits, ...]:
        """Each judge's thresholds as numbers, of the axes that are not calibrated."""
        return tuple(self.settings.limits_of(judge) for judge, _ in self.judges)

    @property
    def sweep(self) -> SweepSettings:
        """The study's grids, which are in its first judge's unit: none where that one is absent."""
        is_there = self.names[:1] == (self.settings.judges[0].name,)
        return self.settings.thresholds.sweep if is_there else SweepSettings()

    @cached_property
    def calibrations(self) -> tuple[Calibrate | None, ...]:
        """One a judge where thresholds are calibrated; None for one that needs no calibration."""
        if not self.settings.calibrated:
            return ()
        return tuple(
            Calibrate(
                name=f"calibrate/{self.names[at]}",
                device_class=self.device_class,
                prompts=self.prompts,
                judge=self._spec(at, calibrated=False),
                protocol=self.settings.prompts.protocol,
            )
            if not set(limits) >= set(self.settings.calibrated) or self._is_auto(at)
            else None
            for at, limits in enumerate(self.limits)
        )

    def _is_auto(self, at: int) -> bool:
        """Return whether a judge's rendering is chosen on the calibration pairs."""
        return getattr(self.judges[at][0].settings, "rendering", "") == AUTO

    @cached_property
    def assessments(self) -> tuple[Assess, ...]:
        """One a judge where there are validation pairs."""
        if self.settings.validation is None:
            return ()
        return tuple(
            Assess(
                name=f"assess/{judge.name}",
                device_class=self.device_class,
                label=judge.name,
                prompts=self.prompts,
                judge=self._spec(at),
                limits=self.limits[at],
                inclusive=self.settings.thresholds.inclusive,
                calibration=self.calibrations[at] if self.calibrations else None,
                settings=self.settings.assess,
                protocol=self.settings.prompts.protocol,
                notes=independence_notes(
                    judge.trained_on,
                    (self.settings.data.source,),
                    trained_here=judge.train is not None,
                ),
            )
            for at, (judge, _) in enumerate(self.judges)
        )

    def scores(self, answers: Generate, recipe: str, seed: int) -> tuple[ScoreResponses, ...]:
        """Return a stage a judge that scores one model's responses."""
        return tuple(
            ScoreResponses(
                name=f"score/{judge.name}/{recipe}/seed-{seed}",
                device_class=self.device_class,
                responses=answers,
                judge=self._spec(at),
            )
            for at, (judge, _) in enumerate(self.judges)
        )

    def known_as(self, names: Collection[str]) -> tuple[str, ...]:
        """Return these judges, and every other one that has the model or the rule of one of them.

        One that could not be had is not among them.
        """
        own = {self._identity(at) for at, name in enumerate(self.names) if name in names}
        return tuple(name for at, name in enumerate(self.names) if self._identity(at) in own)

    def _identity(self, at: int) -> str:
        """Name the weights of a judge, whatever the settings it is read with; a rule, by these."""
        judge, model = self.judges[at]
        if model is None:
            code = code_of(judge.settings, self.folder)
            return f"{judge.settings.model_dump_json()} {code}"
        return model.key if isinstance(model, Stage) else model.digest

    def ranking(self, name: str, samples: Generate, of: str, *, axis: str) -> ScoreResponses:
        """Return a stage in which a judge scores samples that are to be learnt from.

        Args:
            name: The judge's; "": the study's choice.
            samples: What is scored.
            of: Names the stage.
            axis: That of the samples' prompts.

        Raises:
            InputError: If that judge could not be had.
        """
        name = name or default_ranker(self.settings) or ""
        spec = self._named(name, "ranks samples to learn from", "ranked_by")
        return ScoreResponses(
            name=f"score/{name}/{of}",
            device_class=self.device_class,
            responses=samples,
            judge=replace(spec, axes=(axis,)),
        )

    def rewarding(self, method: OnlineSettings, *, axis: str) -> tuple[JudgeSpec, ...]:
        """Return the judges whose scores of its own samples a method learns.

        Args:
            method: Its settings.
            axis: That of the samples' prompts.

        Raises:
            InputError: If one could not be had.
        """
        names = method.rewarded_by or (default_ranker(self.settings) or "",)
        specs = (self._named(name, "rewards samples", "rewarded_by") for name in names)
        return tuple(replace(spec, axes=(axis,)) for spec in specs)

    def choosing(self, name: str, answers: Generate, of: str) -> ScoreResponses:
        """Return a stage in which a judge scores the responses of one trial.

        Raises:
            InputError: If that judge could not be had.
        """
        return ScoreResponses(
            name=f"score/{name}/{of}",
            device_class=self.device_class,
            responses=answers,
            judge=self._named(name, "chooses among trials", "tune.by"),
        )

    def _named(self, name: str, does: str, key: str) -> JudgeSpec:
        if name not in self.names:
            raise InputError(
                f"judge '{name}', which {does}, is absent",
                hint=f"make it available, or name another one (`{key}`)",
            )
        return self._spec(self.names.index(name))

    def _spec(self, at: int, *, calibrated: bool = True) -> JudgeSpec:
        """Return a judge; one whose rendering is chosen reads the choice from its calibration."""
        judge, model = self.judges[at]
        return JudgeSpec(
            settings=judge.settings,
            model=model,
            axes=measured_axes(judge.settings, self.settings.tested),
            code=code_of(judge.settings, self.folder),
            folder=self.folder if model is None else None,
            calibration=self.calibrations[at] if calibrated and self._is_auto(at) else None,
        )
