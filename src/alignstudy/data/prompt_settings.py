"""Which prompts models are asked, and what choosing them gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from alignstudy.data.exclusion import EvaluationDialogues
from alignstudy.records import Audit, Axis, Prompt
from alignstudy.settings import Many, Settings

Protocol = Literal["paper", "rigorous"]


class PromptSet(Settings):
    """The prompts of one axis."""

    subsets: Many[str] = Field((), description="subsets by name; empty: all that have the split")
    split: str = Field("test", min_length=1, description="split by name")
    n: int = Field(50, ge=1, description="number of prompts")
    keywords: Many[str] = Field(
        (),
        description=(
            "only prompts with one of them: paper: as a substring of `chosen`, rigorous: as a"
            " whole word of the last human turn"
        ),
    )


DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "harmful": {"subsets": ["harmless-base"], "n": 50, "keywords": ["kill", "murder", "rape"]},
        "helpful": {"subsets": ["helpful-base"], "n": 50},
    },
    "rigorous": {
        "harmful": {"subsets": ["harmless-base"], "n": 500},
        "helpful": {"subsets": ["helpful-base"], "n": 500},
    },
}
"""What a study that says less gets, by protocol."""


class PromptSettings(Settings):
    """Which prompts models are tested on; an axis set to null is not tested."""

    protocol: Protocol = Field("rigorous", description="paper: the published study's, exactly")
    seed: int = Field(100, description="of the draw")
    harmful: PromptSet | None = Field(None, description="default by protocol; null: no such axis")
    helpful: PromptSet | None = Field(None, description="default by protocol; null: no such axis")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: object) -> object:
        """Fill in what the protocol has and the study doesn't say."""
        if not isinstance(given, Mapping):
            return given
        defaults = DEFAULTS.get(str(given.get("protocol", "rigorous")), {})
        filled = dict(given)
        for name, default in defaults.items():
            asked = given.get(name, {})
            if isinstance(asked, Mapping):
                filled[name] = {**default, **asked}
        return filled

    @model_validator(mode="after")
    def _some_axis(self) -> PromptSettings:
        if not self.sets:
            raise ValueError("both harmful and helpful are null: there is nothing to ask")
        return self

    @property
    def sets(self) -> dict[Axis, PromptSet]:
        """The prompt sets that there are, harmful first."""
        both = {Axis.HARMLESS: self.harmful, Axis.HELPFUL: self.helpful}
        return {axis: chosen for axis, chosen in both.items() if chosen is not None}


@dataclass(frozen=True, kw_only=True)
class PromptSelection:
    """The prompts, axis by axis, and what happened to the rows that they come from."""

    prompts: tuple[Prompt, ...]
    audits: tuple[Audit, ...]

    def of(self, axis: Axis) -> tuple[Prompt, ...]:
        """Give the prompts of one axis."""
        return tuple(prompt for prompt in self.prompts if prompt.axis is axis)

    @property
    def dialogues(self) -> EvaluationDialogues:
        """What no training row may share."""
        return EvaluationDialogues.of_prompts(self.prompts)


def numbered(axis: Axis, number: int, text: str, source: str) -> Prompt:
    """Make a prompt with its id: `harmless-000`."""
    return Prompt(id=f"{axis.value}-{number:03d}", axis=axis, text=text, source=source)
