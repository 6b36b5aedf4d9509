"""Labelled pairs of each axis that are kept apart from evaluation prompts and training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from alignstudy.data.contamination.exclusion import (
    SHARES_CALIBRATION,
    SHARES_VALIDATION,
    EvaluationDialogues,
)
from alignstudy.data.files.reading import PLAIN, Reading
from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.selection import RowSelection, Share
from alignstudy.errors import DataError, due_to
from alignstudy.metrics.axes import PUBLISHED, axis_named
from alignstudy.records import Audit, Axis, Pair
from alignstudy.settings import Many, Settings, by_axis

SUBSETS: dict[str, tuple[str, ...]] = {
    "harmful": ("harmless-base",),
    "helpful": ("helpful-base",),
}
"""Where the published axes' pairs come from unless a study says otherwise."""


class HeldOutSettings(Settings):
    """Where held-out pairs come from; each use of them has its own class and defaults."""

    part: ClassVar[str]
    """Name in the audit, and in the study file."""
    reason: ClassVar[str]
    """Why a training row that shares a dialogue with them is left out."""
    way_out: ClassVar[str]
    """What to do without them."""

    split: str = Field("train", min_length=1, description="split by name")
    n: int = Field(200, ge=10, description="pairs an axis, at most")
    subsets: dict[str, Many[str]] = Field(
        {}, description="axis -> subsets of its pairs; an axis may also stand beside `n`"
    )
    share: Share = Field((0.0, 1.0), description="[from, to] in 0..1: the part of the dialogues")
    seed: int = Field(0, description="of the draw of `n`")

    @model_validator(mode="before")
    @classmethod
    def _axes_beside(cls, given: object) -> object:
        found = by_axis(cls, "subsets", given, list, tuple)
        if not isinstance(found, Mapping) or not isinstance(found.get("subsets", {}), Mapping):
            return found
        named = {axis_named(str(key)) for key in found.get("subsets", {})}
        defaults = {key: each for key, each in SUBSETS.items() if axis_named(key) not in named}
        return {**found, "subsets": {**defaults, **found.get("subsets", {})}}

    @model_validator(mode="after")
    def _share_is_a_range(self) -> HeldOutSettings:
        RowSelection(share=self.share)
        return self

    def has(self, axis: Axis) -> bool:
        """Whether there are pairs of an axis."""
        return any(axis_named(key).name == axis.name for key in self.subsets)

    def selection(self, axis: Axis) -> RowSelection:
        """Return which rows are drawn for an axis."""
        [subsets] = [
            each for key, each in self.subsets.items() if axis_named(key).name == axis.name
        ]
        return RowSelection(
            subsets=subsets, split=self.split, max_rows=self.n, share=self.share, seed=self.seed
        )


class CalibrationSettings(HeldOutSettings):
    """Where the pairs come from on which thresholds are calibrated."""

    part: ClassVar[str] = "calibration"
    reason: ClassVar[str] = SHARES_CALIBRATION
    way_out: ClassVar[str] = "give `thresholds` as numbers"


class ValidationSettings(HeldOutSettings):
    """Where the pairs come from on which judges, and implicit rewards, are measured."""

    part: ClassVar[str] = "validation"
    reason: ClassVar[str] = SHARES_VALIDATION
    way_out: ClassVar[str] = "leave it out with `validation: null` (judges are then not judged)"

    split: str = Field("test", min_length=1, description="split by name")


@dataclass(frozen=True, kw_only=True)
class HeldOutPairs:
    """The pairs by axis, and what happened to the rows of each.

    Attributes:
        pairs: Each with the `subset` that it comes from.
        reason: Why a training row that shares a dialogue with them is left out.
    """

    pairs: dict[str, tuple[Pair, ...]]
    audits: tuple[Audit, ...]
    reason: str

    @property
    def dialogues(self) -> EvaluationDialogues:
        """What training rows must not share, so that the pairs stay unseen."""
        rows = (pair for pairs in self.pairs.values() for pair in pairs)
        return EvaluationDialogues.of_pairs(rows, reason=self.reason)


def select_held_out(
    source: Path,
    settings: HeldOutSettings,
    *,
    axes: Sequence[Axis] = PUBLISHED,
    how: Reading = PLAIN,
    exclude: EvaluationDialogues | None,
) -> HeldOutPairs:
    """Draw the held-out pairs of each axis; each keeps its subset, for the accuracy by subset.

    Args:
        source: Folder or file.
        settings: What to draw, and for what.
        axes: The axes that the study has prompts for.
        how: What columns mean, and which pairs come of scored answers.
        exclude: Dialogues of the evaluation prompts, and of pairs that were drawn before: no pair
            may share one. Training rows must leave out the `dialogues` of what is returned.

    Raises:
        DataError: If an axis has no usable pair (demonstrations, and responses that were rated one
            by one, are none); it says how to do without.
    """
    pairs, audits = {}, []
    for axis in axes:
        selection, part = settings.selection(axis), f"{settings.part}/{axis.prompts}"
        try:
            with due_to(settings.part):
                found = collect_pairs(
                    source, selection, part=part, how=how, exclude=exclude, compared=True
                )
        except DataError as error:
            error.what = f"{settings.part}: {error.what}"
            error.hint = f"{error.hint}; or {settings.way_out}"
            raise
        pairs[axis.name] = found.rows
        audits.append(found.audit)
    return HeldOutPairs(pairs=pairs, audits=tuple(audits), reason=settings.reason)
