"""A study file as settings: every key, its type, its default, what it means."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from alignstudy.data import FORMATS
from alignstudy.data.calibration import CalibrationSettings
from alignstudy.data.prompts import PromptSettings
from alignstudy.data.selection import RowSelection
from alignstudy.data.world import WorldSettings
from alignstudy.generation import GenerationSettings
from alignstudy.judges import JUDGES
from alignstudy.methods import METHODS
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.scratch import ArchitectureSettings, TokenizerSettings
from alignstudy.records import Axis
from alignstudy.settings import Many, Settings
from alignstudy.study.faults import CrossFaults

Fault = tuple[tuple[str | int, ...], str]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that is safe as a file name."""

WORLD = "world"
"""The data source that means: the small world that the package generates."""

if TYPE_CHECKING:
    MethodSettings = Any
    JudgeSettings = Any
else:
    RECIPE_METHODS = tuple(
        name
        for name, kind in ((name, METHODS.load(name)) for name in METHODS)
        if kind.trains == "causal_lm" and kind.needs_pairs
    )
    MethodSettings = Annotated[
        reduce(or_, (METHODS.load(name).settings for name in RECIPE_METHODS)),
        Field(discriminator="method"),
    ]
    JudgeSettings = Annotated[
        reduce(or_, (JUDGES.load(name).settings for name in JUDGES)), Field(discriminator="use")
    ]


class ScratchBase(Settings):
    """A small model pretrained from scratch, so that a study needs no download."""

    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    rows: RowSelection = Field(RowSelection(), description="What it is pretrained on.")
    pretrain: PretrainSettings = PretrainSettings()
    seed: int = Field(0, ge=0, description="Of its weights; not varied by `seeds`.")


class BaseModel_(Settings):
    """The model that every recipe starts from."""

    path: str | None = Field(None, description="Hub id, or a folder in Hugging Face layout.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    dtype: Literal["float32"] = Field(
        "float32", description="Precision that it is read and trained in, whatever the file's is."
    )
    scratch: ScratchBase | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> BaseModel_:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("give `path` (a hub id or folder) or `scratch`, and not both")
        return self


class DataSettings(Settings):
    """Preference data: where it is, and which rows train."""

    source: str = Field(
        description="Hub id, folder, JSONL or Parquet file; `world` for the generated one."
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    format: str = Field("auto", description="One of `alignstudy list formats`, or auto.")
    train: RowSelection = RowSelection()
    world: WorldSettings = WorldSettings()
    overlap: Literal["exclude", "keep"] = Field(
        "exclude",
        description="Training rows that share a dialogue with an evaluation prompt: leave them "
        "out, or keep them (the published study did). Counted either way.",
    )

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, name: str) -> str:
        known = ("auto", *FORMATS)
        if name not in known:
            raise ValueError(f"unknown format; known: {', '.join(known)}")
        return name


class JudgeTraining(Settings):
    """A judge trained within the study, on pairs that train no policy."""

    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    rows: RowSelection = Field(description="Pairs to train on; keep them apart from data.train.")
    reward_model: RewardModelSettings = RewardModelSettings()
    seed: int = Field(0, ge=0)


class JudgeEntry(Settings):
    """One judge: a classifier from the hub or a folder, one trained here, or a rule."""

    name: Name
    path: str | None = Field(None, description="Hub id, or a folder in Hugging Face layout.")
    revision: str | None = None
    train: JudgeTraining | None = None
    settings: JudgeSettings

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: object) -> object:
        """Read a bare hub id, and a judge's own settings beside its name."""
        if isinstance(given, str):
            given = {"path": given}
        if not isinstance(given, dict) or "settings" in given:
            return given
        outer = {name: given[name] for name in given if name in cls.model_fields}
        inner = {"use": "seqcls", **{n: v for n, v in given.items() if n not in outer}}
        path = str(given.get("path") or inner["use"])
        return {"name": path.rstrip("/").rsplit("/", 1)[-1], **outer, "settings": inner}

    @model_validator(mode="after")
    def _one_origin(self) -> JudgeEntry:
        if self.settings.use == "seqcls" and (self.path is None) == (self.train is None):
            raise ValueError("a seqcls judge needs `path` or `train`, and not both")
        if self.settings.use != "seqcls" and (self.path or self.train or self.revision):
            raise ValueError(f"a {self.settings.use} judge has no weights: drop path and train")
        return self


class ThresholdSettings(Settings):
    """Where a score starts to count: numbers, or chosen on labelled pairs."""

    calibrated: bool = False
    harmless: float | None = None
    helpful: float | None = None
    inclusive: bool = Field(False, description="Whether a score equal to the threshold counts.")

    @model_validator(mode="after")
    def _one_way(self) -> ThresholdSettings:
        numbers = self.harmless is not None or self.helpful is not None
        if self.calibrated == numbers:
            raise ValueError("give numbers (harmless, helpful), or `calibrated`, and not both")
        return self


class StudySettings(Settings):
    """A whole study."""

    study: Name
    base: BaseModel_
    data: DataSettings
    prompts: PromptSettings = PromptSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    methods: dict[Name, MethodSettings] = Field(description="Label -> method and its settings.")
    recipes: dict[Name, Many[str]] = Field(
        {"base": (), "sft": ("sft",), "dpo": ("dpo",), "sft_dpo": ("sft", "dpo")},
        description="Compared model -> the labels of its methods, in order.",
    )
    seeds: Many[Annotated[int, Field(ge=0)]] = (0,)
    generation: GenerationSettings = GenerationSettings()
    judges: Many[JudgeEntry]
    thresholds: ThresholdSettings = ThresholdSettings(calibrated=True)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(
        None, ge=1, description="CPU threads of all numeric work; null: as many as torch likes."
    )

    @field_validator("base", mode="before")
    @classmethod
    def _bare_base(cls, given: object) -> object:
        return {"path": given} if isinstance(given, str) else given

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
            label: {"method": label, **(inner or {})} if isinstance(inner, dict | None) else inner
            for label, inner in given.items()
        }

    @model_validator(mode="after")
    def _hangs_together(self) -> StudySettings:
        empty: list[Fault] = [
            ((name,), "must not be empty")
            for name in ("recipes", "seeds", "judges")
            if not getattr(self, name)
        ]
        recipes = [*self._recipe_faults(), *self._repetitions()]
        faults = [
            *empty,
            *recipes,
            *self._judge_faults(),
            *self._threshold_faults(),
            *self._idle_faults(),
        ]
        if faults:
            raise CrossFaults(faults)
        return self

    def _recipe_faults(self) -> Iterator[Fault]:
        known = ", ".join(self.methods) or "none"
        for recipe, labels in self.recipes.items():
            for label in labels:
                if label not in self.methods:
                    text = f"names method '{label}', which `methods` doesn't hold; known: {known}"
                    yield ("recipes", recipe), text
        used = {label for labels in self.recipes.values() for label in labels}
        for label in self.methods:
            if label not in used:
                yield ("methods", label), "is in no recipe"

    def _repetitions(self) -> Iterator[Fault]:
        if len(set(self.recipes.values())) < len(self.recipes):
            yield ("recipes",), "two recipes are the same"
        if len(set(self.seeds)) < len(self.seeds):
            yield ("seeds",), "a seed stands twice"

    def _judge_faults(self) -> Iterator[Fault]:
        names = [judge.name for judge in self.judges]
        form = "bare" if self.prompts.protocol == "paper" else "cue"
        for at, judge in enumerate(self.judges):
            if judge.name in names[:at]:
                yield ("judges", at), f"two judges are called '{judge.name}'"
            if judge.train and judge.train.reward_model.prompt_form != form:
                path = ("judges", at, "train", "reward_model", "prompt_form")
                yield path, f"must be '{form}': what the {self.prompts.protocol} protocol shows"

    def _idle_faults(self) -> Iterator[Fault]:
        """Find settings that nothing would read."""
        world, numbers = self.data.source == WORLD, not self.thresholds.calibrated
        if world and self.data.revision is not None:
            yield ("data", "revision"), "the generated world has no revisions"
        if not world and self.data.world != WorldSettings():
            yield ("data", "world"), f"is read only with `source: {WORLD}`"
        if numbers and self.calibration != CalibrationSettings():
            yield ("calibration",), "is read only with `thresholds: calibrated`"
        scratch = self.base.scratch
        if scratch is not None and scratch.architecture.model_type != "opt":
            path = ("base", "scratch", "architecture", "model_type")
            yield path, "a base writes text: it must be 'opt'"
        for at, judge in enumerate(self.judges):
            if judge.train is not None and judge.train.architecture.model_type == "opt":
                path_of_judge = ("judges", at, "train", "architecture", "model_type")
                yield path_of_judge, "a judge classifies: it must be 'deberta-v2'"

    def _threshold_faults(self) -> Iterator[Fault]:
        for axis in () if self.thresholds.calibrated else self.axes:
            if getattr(self.thresholds, axis.value) is None:
                yield ("thresholds",), f"there is no number for {axis.value}"

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that the prompts test."""
        return tuple(self.prompts.sets)

    @property
    def base_recipe(self) -> str | None:
        """The recipe without a method, against which the others are compared."""
        return next((name for name, labels in self.recipes.items() if not labels), None)
