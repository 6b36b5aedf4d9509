"""A study file as settings: every key, its type, its default, what it means."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.analysis.margins import Margins
from alignstudy.data.files.reading import Reading
from alignstudy.data.select.held_out import CalibrationSettings, ValidationSettings
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.selection import RowSelection
from alignstudy.data.world.generate import WorldSettings
from alignstudy.generation import GenerationSettings
from alignstudy.generation.diagnostics import DiagnosticSettings
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.methods import named, recipe_settings
from alignstudy.metrics.axes import axis_named, in_order
from alignstudy.records import Axis
from alignstudy.runtime.device import NO_MPS
from alignstudy.settings import Many, Settings
from alignstudy.study.settings.axes import (
    CALIBRATED,
    AxisName,
    AxisSettings,
    Limits,
    Name,
    ThresholdSettings,
)
from alignstudy.study.settings.base_model import BaseModelSettings
from alignstudy.study.settings.budget import BudgetSettings
from alignstudy.study.settings.filling import whole_study
from alignstudy.study.settings.judges import JudgeEntry
from alignstudy.study.settings.recipes import Recipe
from alignstudy.study.settings.tune import TuneSettings

NAMED_TEMPLATES = ("auto", "chat", "hh", "none")
"""Values of `template` that are no file."""

if TYPE_CHECKING:
    MethodSettings = Any
else:
    MethodSettings = Annotated[reduce(or_, recipe_settings()), Field(discriminator="method")]


def _meant_by(label: str, given: dict[str, Any]) -> dict[str, str]:
    """Return the settings that a label stands for; its loss, where another method is given, not."""
    meant = named(label) or {"method": label}
    return meant if given.get("method", meant["method"]) == meant["method"] else {}


class DataSettings(Reading):
    """Preference data: where it is, and which rows train."""

    source: str = Field(
        min_length=1,
        description="Hub id, folder, or a file of JSON lines, JSON, CSV, Parquet or Arrow; `world`"
        " for the generated one.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    train: RowSelection = RowSelection()
    world: WorldSettings = WorldSettings()
    overlap: Literal["exclude", "keep"] = Field(
        "exclude",
        description="Training rows that share a dialogue with an evaluation prompt: leave them "
        "out, or keep them (as the published study did). They are counted either way.",
    )


class StudySettings(Settings):
    """A whole study, each setting sound by itself; `cross_checks` finds contradictions."""

    study: Name = Field(description="Its name, and its run folder's: runs/NAME.")
    base: BaseModelSettings = Field(
        description="The model that every recipe starts from; a bare hub id or folder is its"
        " `path`."
    )
    data: DataSettings = Field(
        description="Preference data; a bare file, folder or hub id is its `source`."
    )
    prompts: PromptSettings = PromptSettings()
    axes: dict[AxisName, AxisSettings] = Field(
        {},
        description="What is measured: prompts, judge and threshold of each axis; left out: the"
        " published study's two axes, as `prompts` and `thresholds` have them.",
    )
    calibration: CalibrationSettings | None = Field(
        CalibrationSettings(),
        description="Held-out pairs on which thresholds are chosen; null: none.",
    )
    methods: dict[Name, MethodSettings] = Field(
        {},
        description="Label -> method and its settings. A method's or a loss' name is a label that"
        " means it; other labels give `method`.",
    )
    recipes: dict[Name, Recipe] = Field(
        {"base": (), "sft": ("sft",), "dpo": ("dpo",), "sft_dpo": ("sft", "dpo")},
        description="Compared model -> the labels of its methods, in order; or {from: MODEL}, a"
        " folder or hub id that is compared as it is; or {average: [...]}, {slerp: [A, B]}: made of"
        " other recipes' weights.",
    )
    seeds: Many[Annotated[int, Field(ge=0)]] = Field(
        (0,), description="Every recipe is trained, and answers, once for each."
    )
    budget: BudgetSettings | None = Field(
        None, description="Every recipe gets the same amount of training; null: its own."
    )
    template: str = Field(
        "auto",
        description="How turns become text. auto: each model's own chat template, Human:"
        " and Assistant: tags where it has none; chat, hh (tags), none (words alone), or a file"
        " with a Jinja template.",
    )
    generation: GenerationSettings = GenerationSettings()
    judges: Many[JudgeEntry] = Field(
        description="Who scores responses; the first fills the tables. A bare name of `alignstudy"
        " list judges`, hub id or folder is a whole judge."
    )
    panel: PanelSettings | None = Field(
        None, description="Judges whose scores are combined; the panel's then lead the report."
    )
    thresholds: ThresholdSettings = ThresholdSettings(calibrated=True)
    validation: ValidationSettings | None = Field(
        ValidationSettings(),
        description="Held-out pairs on which judges are evaluated; null: none.",
    )
    assess: AssessSettings = Field(AssessSettings(), description="How judges are evaluated.")
    labels: str | None = Field(
        None,
        description="File of labels of some responses, by people or a better judge: a filled sheet"
        " of `alignstudy label`, or rows of model, prompt_id, seed and label. They correct the"
        " judge's rates; nothing is trained or asked again.",
    )
    accept: Many[Literal["same_judge"]] = Field(
        (),
        description="What is refused otherwise. same_judge: samples that methods learn from are"
        " ranked by the judge that reports on them.",
    )
    tune: TuneSettings | None = Field(
        None, description="Trials that choose each method's settings; null: they are as given."
    )
    claims: Many[Claim] = Field((), description="Hypotheses to test, stated in advance.")
    control: Name | None = Field(
        None, description="Recipe that all others are held against, corrected for their number."
    )
    margins: Margins = Field(
        Margins(), description="Equivalence margins: differences that don't matter."
    )
    diagnostics: DiagnosticSettings | None = Field(
        DiagnosticSettings(), description="Divergence from the base; null: not measured."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where models run. auto: an NVIDIA or AMD GPU if there is one."
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of all numeric work; null: PyTorch's default."
    )
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="Most processes that stages, generation and scoring are spread over on a CPU;"
        " auto: one for each `threads` cores. Results don't depend on it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: object) -> object:
        return whole_study(given) if isinstance(given, dict) else given

    @field_validator("base", mode="before")
    @classmethod
    def _bare_base(cls, given: object) -> object:
        return {"path": given} if isinstance(given, str) else given

    @field_validator("device", mode="before")
    @classmethod
    def _no_mps(cls, given: object) -> object:
        if given == "mps":
            raise ValueError(f"{NO_MPS}; use auto, cpu or cuda")
        return given

    @field_validator("thresholds", mode="before")
    @classmethod
    def _bare_thresholds(cls, given: object) -> object:
        return {"calibrated": True} if given == "calibrated" else given

    @field_validator("methods", mode="before")
    @classmethod
    def _method_by_label(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {
            label: {**_meant_by(label, inner or {}), **(inner or {})}
            if isinstance(inner, dict | None)
            else inner
            for label, inner in given.items()
        }

    @property
    def tested(self) -> tuple[Axis, ...]:
        """The axes that there are prompts for, in the order of all draws."""
        if not self.axes:
            return tuple(self.prompts.sets)
        named = {key: axis_named(key) for key in self.axes}
        return in_order(
            replace(axis, rate=self.axes[key].metric or axis.rate) for key, axis in named.items()
        )

    @property
    def asked(self) -> PromptSettings:
        """Which prompts models are asked."""
        if not self.axes:
            return self.prompts
        sets = {key: each.prompts for key, each in self.axes.items()}
        return self.prompts.model_copy(update={"axes": sets})

    def entry(self, axis: Axis) -> AxisSettings:
        """Return what the study says of an axis; the short form says the same of all."""
        return next(
            (each for key, each in self.axes.items() if axis_named(key).name == axis.name),
            AxisSettings(threshold=CALIBRATED if self.thresholds.calibrated else 0.0),
        )

    def judge_of(self, axis: Axis) -> str:
        """Return who leads on an axis: the judge named there, else the first."""
        return self.entry(axis).judge or self.judges[0].name

    @property
    def leading(self) -> PanelSettings | None:
        """Whose scores lead together: the panel's, or each axis' own judge's; None: the first's."""
        own: dict[str, tuple[str, ...]] = {
            axis.name: (self.judge_of(axis),) for axis in self.tested
        }
        if self.panel is not None or {names[0] for names in own.values()} == {self.judges[0].name}:
            return self.panel
        return PanelSettings(judges=own, combine="own")

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The axes whose thresholds are chosen on labelled pairs."""
        return tuple(a.name for a in self.tested if self.entry(a).threshold == CALIBRATED)

    def limits_of(self, judge: JudgeEntry) -> Limits:
        """Return the numbers above which a judge's scores count; calibrated axes are left out.

        A number of the study's is in the unit of the axis' judge: others have none.
        """
        if judge.thresholds is not None:
            own = {axis_named(key).name: number for key, number in judge.thresholds.items()}
            return {axis.name: own.get(axis.name) for axis in self.tested}
        numbers = {axis.name: self._number(axis) for axis in self.tested}
        return {
            axis.name: numbers[axis.name] if judge.name == self.judge_of(axis) else None
            for axis in self.tested
            if axis.name not in self.calibrated
        }

    def _number(self, axis: Axis) -> float | None:
        given = self.entry(axis).threshold
        if self.axes:
            return None if isinstance(given, str) else given
        return self.thresholds.numbers.get(axis.name)

    @property
    def reading(self) -> Reading:
        """How rows are read that are trained on."""
        parted = self.data.parted
        if parted is None:
            taken: list[Any] = [self.data.train, self.calibration, self.validation]
            taken += [each for each in self.asked.sets.values() if each.file is None]
            taken += [judge.train.rows for judge in self.judges if judge.train]
            taken += [self.base.scratch.rows] if self.base.scratch else []
            parted = "test" in {each.split for each in taken if each is not None}
        given = {name: getattr(self.data, name) for name in Reading.model_fields}
        return Reading(**{**given, "parted": parted})

    @property
    def whole_reading(self) -> Reading:
        """How rows are read that judge or are asked: never split within a response."""
        whole = {"format": "hh"} if self.data.format == "hh_prefix" else {}
        return self.reading.model_copy(update=whole)

    @property
    def base_recipe(self) -> str | None:
        """The recipe without a method, against which the others are compared."""
        return next((name for name, labels in self.recipes.items() if not labels), None)
