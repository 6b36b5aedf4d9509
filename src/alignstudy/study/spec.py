"""A study file as settings: every key, its type, its default, what it means."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from alignstudy.data import FORMATS
from alignstudy.data.calibration import CalibrationSettings
from alignstudy.data.prompt_settings import PromptSettings
from alignstudy.data.selection import RowSelection
from alignstudy.data.validation import ValidationSettings
from alignstudy.data.world import WorldSettings
from alignstudy.generation import GenerationSettings
from alignstudy.generation.diagnostics import DiagnosticSettings
from alignstudy.judges.assess import AssessSettings
from alignstudy.methods import METHODS
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.scratch import ArchitectureSettings, TokenizerSettings
from alignstudy.records import Axis
from alignstudy.report.claims import Claim
from alignstudy.report.panel_settings import PanelSettings
from alignstudy.report.results import Margins
from alignstudy.settings import Many, Settings
from alignstudy.study.judge_spec import JudgeEntry, Name, ThresholdSettings

NEW_TOKENS = {"paper": 50, "rigorous": 256}
"""Most tokens of a response where the study doesn't say, by protocol."""

WORLD = "world"
"""The data source that means: the small world that the package generates."""

if TYPE_CHECKING:
    MethodSettings = Any
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


class StudySettings(Settings):
    """A whole study, each setting sound by itself; `cross_checks` finds contradictions."""

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
    panel: PanelSettings | None = Field(
        None, description="Judges whose scores are combined; the panel's then lead the report."
    )
    thresholds: ThresholdSettings = ThresholdSettings(calibrated=True)
    validation: ValidationSettings | None = Field(
        ValidationSettings(),
        description="Held-out pairs on which judges are judged; null: they aren't.",
    )
    assess: AssessSettings = Field(AssessSettings(), description="How judges are judged.")
    claims: Many[Claim] = Field((), description="What the study is to settle, stated beforehand.")
    margins: Margins = Field(Margins(), description="Differences that would not matter.")
    diagnostics: DiagnosticSettings | None = Field(
        DiagnosticSettings(), description="How far models moved from the base; null: not measured."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(
        None, ge=1, description="CPU threads of all numeric work; null: as many as torch likes."
    )
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="Most processes on a CPU that stages, generation and scoring are spread over;"
        " auto: one for each `threads` cores. Results don't depend on it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _tokens_by_protocol(cls, given: object) -> object:
        """Fill in how long responses may be: as published, or long enough to end by themselves."""
        if not isinstance(given, dict):
            return given
        asked, prompts = given.get("generation", {}), given.get("prompts", {})
        if not isinstance(asked, dict) or not isinstance(prompts, dict):
            return given
        cap = NEW_TOKENS.get(str(prompts.get("protocol", "rigorous")), NEW_TOKENS["rigorous"])
        return {**given, "generation": {"max_new_tokens": cap, **asked}}

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

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that the prompts test."""
        return tuple(self.prompts.sets)

    @property
    def base_recipe(self) -> str | None:
        """The recipe without a method, against which the others are compared."""
        return next((name for name, labels in self.recipes.items() if not labels), None)
