"""Which prompts models are asked, and what choosing them gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from alignstudy.data.contamination.exclusion import EvaluationDialogues
from alignstudy.metrics.axes import axis_named, in_order
from alignstudy.records import Audit, Axis, Prompt
from alignstudy.settings import Many, Settings, by_axis

Protocol = Literal["paper", "rigorous"]

NUM_PROMPTS = 50
"""Prompts of an axis where neither study nor protocol say how many."""


class PromptSet(Settings):
    """The prompts of one axis: drawn from the data, or of a file of their own."""

    file: str | None = Field(
        None,
        description="JSON lines with `prompt` (text, or turns of role and content), or a JSON list"
        " of such rows or of texts; left out: drawn from `data`",
    )
    subsets: Many[str] = Field((), description="subsets by name; empty: all that have the split")
    split: str = Field("test", min_length=1, description="split by name")
    n: int | None = Field(
        None,
        ge=1,
        description=f"number of prompts; left out: {NUM_PROMPTS} at most, or all of a file",
    )
    keywords: Many[str] = Field(
        (),
        description=(
            "only prompts with one of them: paper: as a substring of `chosen`, rigorous and of a"
            " file: as a whole word of the last human turn"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _one_subset(cls, given: object) -> object:
        """Read one subset as a list of it."""
        if isinstance(given, Mapping) and isinstance(given.get("subset"), str):
            rest = {key: value for key, value in given.items() if key != "subset"}
            return {"subsets": [given["subset"]], **rest}
        return given

    @model_validator(mode="after")
    def _one_origin(self) -> PromptSet:
        if self.file is not None and (self.subsets or self.split != "test"):
            raise ValueError("prompts of a file have neither subsets nor split")
        return self

    @property
    def size(self) -> int:
        """Prompts that are asked for; of a file as many as are drawn by default."""
        return self.n or NUM_PROMPTS


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


def filled_in(given: Mapping[str, Any], protocol: object) -> dict[str, Any]:
    """Fill in what a protocol has for each axis, and the study doesn't say."""
    filled = dict(given)
    for word, default in DEFAULTS.get(str(protocol), {}).items():
        key = next((key for key in given if axis_named(key) == axis_named(word)), word)
        asked = given.get(key, {})
        if isinstance(asked, Mapping) and "file" not in asked:
            filled[key] = {**default, **asked}
    return filled


class PromptSettings(Settings):
    """Which prompts models are tested on; an axis set to null is not tested."""

    protocol: Protocol = Field("rigorous", description="paper: the published study's, exactly")
    seed: int = Field(100, description="of the draw")
    axes: dict[str, PromptSet | None] = Field(
        {},
        description="axis -> its prompts, default by protocol, null: no such axis; an axis may also"
        " stand beside `protocol`",
    )

    @model_validator(mode="before")
    @classmethod
    def _axes_beside(cls, given: object) -> object:
        """Gather the axes, and fill in what the protocol has and the study doesn't say."""
        found = by_axis(cls, "axes", given, Mapping, type(None), PromptSet)
        if not isinstance(found, Mapping) or not isinstance(found.get("axes", {}), Mapping):
            return found
        return {
            **found,
            "axes": filled_in(found.get("axes", {}), found.get("protocol", "rigorous")),
        }

    @model_validator(mode="after")
    def _some_axis(self) -> PromptSettings:
        if not self.sets:
            raise ValueError(f"{' and '.join(self.axes)} are null: there is nothing to ask")
        return self

    @property
    def sets(self) -> dict[Axis, PromptSet]:
        """The prompt sets that there are, in the order of all draws."""
        found = {axis_named(key): chosen for key, chosen in self.axes.items()}
        return {axis: kept for axis in in_order(found) if (kept := found[axis]) is not None}


@dataclass(frozen=True, kw_only=True)
class PromptSelection:
    """The prompts, axis by axis, and what happened to the rows that they come from."""

    prompts: tuple[Prompt, ...]
    audits: tuple[Audit, ...]

    def of(self, axis: Axis) -> tuple[Prompt, ...]:
        """Return the prompts of one axis."""
        return tuple(prompt for prompt in self.prompts if prompt.axis == axis.name)

    def __or__(self, other: PromptSelection) -> PromptSelection:
        """Join the prompts of different axes."""
        return PromptSelection(
            prompts=self.prompts + other.prompts, audits=self.audits + other.audits
        )

    def in_order(self, axes: Sequence[Axis]) -> PromptSelection:
        """Return the same, axis by axis."""
        prompts = tuple(prompt for axis in axes for prompt in self.of(axis))
        parts = [f"prompts/{axis.prompts}" for axis in axes]
        audits = sorted(self.audits, key=lambda audit: parts.index(audit.part))
        return PromptSelection(prompts=prompts, audits=tuple(audits))

    @property
    def dialogues(self) -> EvaluationDialogues:
        """What no training row may share."""
        return EvaluationDialogues.of_prompts(self.prompts)


def numbered(axis: Axis, number: int, text: str, source: str) -> Prompt:
    """Make a prompt with its id: `harmless-000`."""
    return Prompt(id=f"{axis.name}-{number:03d}", axis=axis.name, text=text, source=source)
