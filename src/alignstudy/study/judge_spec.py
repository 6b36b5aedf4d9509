"""The judges of a study file: one YAML line each, and where their scores start to count."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from alignstudy.data.selection import RowSelection
from alignstudy.judges import JudgeSettings
from alignstudy.judges.presets import PRESETS
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.scratch import ArchitectureSettings, TokenizerSettings
from alignstudy.records import Axis
from alignstudy.settings import Many, Settings

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that is safe as a file name."""

RESERVED = "panel"
"""The name under which a panel's combined scores stand beside its members'."""


class JudgeTraining(Settings):
    """A judge trained within the study, on pairs that train no policy."""

    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    rows: RowSelection = Field(description="Pairs to train on; keep them apart from data.train.")
    reward_model: RewardModelSettings = RewardModelSettings()
    seed: int = Field(0, ge=0)


class JudgeThresholds(Settings):
    """Where one judge's scores start to count: numbers in its own unit."""

    harmless: float | None = None
    helpful: float | None = None


class JudgeEntry(Settings):
    """One judge: a preset's name, a classifier from the hub or a folder, one trained here, a rule.

    Attributes:
        trained_on: Preference data that the judge has learnt, where it is known.
    """

    name: Name
    path: str | None = Field(None, description="Hub id, or a folder in Hugging Face layout.")
    revision: str | None = None
    train: JudgeTraining | None = None
    thresholds: JudgeThresholds | None = Field(
        None,
        description="This judge's own numbers; left out: calibrated where the study says so, else"
        " the study's numbers for the first judge and none for others.",
    )
    settings: JudgeSettings

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: object) -> object:
        """Read a preset's name, a bare hub id, and a judge's own settings beside its name."""
        if isinstance(given, str):
            given = {"preset": given} if given in PRESETS else {"path": given}
        if not isinstance(given, dict) or "settings" in given:
            return given
        given = _from_preset(given)
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

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The preference data that a known judge was trained on; () where nothing is known."""
        known = (preset for preset in PRESETS.values() if preset.path == self.path)
        return next((tuple(preset.trained_on) for preset in known), ())


def limits_of(
    judge: JudgeEntry, study: ThresholdSettings, *, is_first: bool
) -> JudgeThresholds | None:
    """Give the numbers above which a judge's scores count; None where they are calibrated."""
    if judge.thresholds is not None or study.calibrated:
        return judge.thresholds
    if is_first:
        return JudgeThresholds(harmless=study.harmless, helpful=study.helpful)
    return JudgeThresholds()


def _from_preset(given: dict[str, Any]) -> dict[str, Any]:
    """Write a preset out; what stands beside its name changes it."""
    name = given.get("preset")
    if name is None:
        return given
    rest = {key: value for key, value in given.items() if key != "preset"}
    if name not in PRESETS:
        raise ValueError(f"no judge preset '{name}'; known: {', '.join(PRESETS)}")
    preset = PRESETS[name]
    chosen = preset.settings.model_dump(mode="json", exclude_defaults=True)
    return {"name": name, "path": preset.path, **chosen, **rest}


class SweepSettings(Settings):
    """The grids of thresholds over which rates are shown: [from, to, step]."""

    harmless: Many[float] = Field((), description="[from, to, step]; left out: from the scores.")
    helpful: Many[float] = Field((), description="[from, to, step]; left out: from the scores.")

    @model_validator(mode="after")
    def _are_ranges(self) -> SweepSettings:
        for axis, grid in (("harmless", self.harmless), ("helpful", self.helpful)):
            if grid and (len(grid) != 3 or grid[0] >= grid[1] or grid[2] <= 0):
                raise ValueError(f"{axis} must be [from, to, step], from < to and step > 0")
            if grid and (grid[1] - grid[0]) / grid[2] > 1000:
                raise ValueError(f"{axis}: over 1,000 thresholds; take a larger step")
        return self

    def grids(self) -> dict[Axis, tuple[float, ...]]:
        """Give the thresholds of the axes that have a grid, rounded as scores are."""
        found = {Axis.HARMLESS: self.harmless, Axis.HELPFUL: self.helpful}
        return {axis: _grid(*grid) for axis, grid in found.items() if grid}


def _grid(low: float, high: float, step: float) -> tuple[float, ...]:
    count = int((high - low) / step + 1e-9) + 1
    return tuple(round(low + step * number, 4) for number in range(count))


class ThresholdSettings(Settings):
    """Where a score starts to count: numbers, or chosen on labelled pairs."""

    calibrated: bool = False
    harmless: float | None = None
    helpful: float | None = None
    inclusive: bool = Field(False, description="Whether a score equal to the threshold counts.")
    sweep: SweepSettings = SweepSettings()

    @model_validator(mode="after")
    def _one_way(self) -> ThresholdSettings:
        numbers = self.harmless is not None or self.helpful is not None
        if self.calibrated == numbers:
            raise ValueError("give numbers (harmless, helpful), or `calibrated`, and not both")
        return self
