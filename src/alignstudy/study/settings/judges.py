"""The judges of a study file: one YAML line each, and where their scores start to count."""

from __future__ import annotations

from pydantic import Field, model_validator

from alignstudy.data.select.selection import RowSelection
from alignstudy.judges import JUDGES, JudgeSettings
from alignstudy.judges.presets import PRESETS
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.weights.scratch import ArchitectureSettings, TokenizerSettings
from alignstudy.settings import Settings
from alignstudy.sources import home_path
from alignstudy.study.settings.axes import Name

RESERVED = "panel"
"""The name under which a panel's combined scores stand next to its members'."""


class JudgeTraining(Settings):
    """A judge trained within the study, on pairs that train no policy."""

    architecture: ArchitectureSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    rows: RowSelection = Field(description="Pairs to train on; keep them apart from data.train.")
    reward_model: RewardModelSettings = RewardModelSettings()
    seed: int = Field(0, ge=0, description="Of its weights and rows' order; not varied by `seeds`.")


class JudgeEntry(Settings):
    """One judge: a classifier, one trained here, a rule; or `preset: NAME`, and what is to change.

    Attributes:
        trained_on: Preference data that the judge has learnt, where it is known.
    """

    name: Name = Field(
        description="What reports call it; left out: the last part of `path`, else its kind."
    )
    path: str | None = Field(None, description="Hub id, or a folder in Hugging Face layout.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    train: JudgeTraining | None = None
    thresholds: dict[str, float | None] | None = Field(
        None,
        description="This judge's own numbers, axis by axis; left out: calibrated if the study's"
        " are, else the study's numbers for the axis' judge and none for others.",
    )
    settings: JudgeSettings = Field(
        description="Its kind, by `alignstudy list judges`; the kind's own keys stand beside it."
    )

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: object) -> object:
        """Read a preset's name, a bare hub id, and a judge's own settings next to its name."""
        if isinstance(given, str):
            is_kind = given in JUDGES and not home_path(given).exists()
            kind = "preset" if given in PRESETS else "use" if is_kind else "path"
            given = {kind: given}
        if not isinstance(given, dict) or "settings" in given:
            return given
        if given.get("preset") is not None:  # what stands next to its name changes it
            rest = dict(given)
            name = rest.pop("preset")
            if name not in PRESETS:
                raise ValueError(f"no judge preset '{name}'; known: {', '.join(PRESETS)}")
            preset = PRESETS[name]
            chosen = preset.settings.model_dump(mode="json", exclude_defaults=True)
            given = {"name": name, "path": preset.path, **chosen, **rest}
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
