"""Labelled pairs on which judges' thresholds are set: an axis each, apart from the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from alignstudy.data.collect import collect_pairs
from alignstudy.data.exclusion import EvaluationDialogues
from alignstudy.data.selection import RowSelection, Share
from alignstudy.errors import DataError
from alignstudy.records import Audit, Axis, Pair
from alignstudy.settings import Many, Settings


class CalibrationSettings(Settings):
    """Where the pairs come from on which thresholds are calibrated."""

    split: str = Field("train", min_length=1, description="split by name")
    n: int = Field(200, ge=10, description="pairs an axis, at most")
    harmful: Many[str] = Field(("harmless-base",), description="subsets of the harmlessness axis")
    helpful: Many[str] = Field(("helpful-base",), description="subsets of the helpfulness axis")
    share: Share = Field((0.0, 1.0), description="[from, to] in 0..1: the part of the dialogues")
    seed: int = Field(0, description="of the draw of `n`")

    def selection(self, axis: Axis) -> RowSelection:
        """Say which rows are drawn for an axis."""
        subsets = self.harmful if axis is Axis.HARMLESS else self.helpful
        return RowSelection(
            subsets=subsets, split=self.split, max_rows=self.n, share=self.share, seed=self.seed
        )

    @model_validator(mode="after")
    def _share_is_a_range(self) -> CalibrationSettings:
        self.selection(Axis.HARMLESS)
        return self


@dataclass(frozen=True, kw_only=True)
class CalibrationPairs:
    """The pairs by axis, and what happened to the rows of each."""

    pairs: dict[Axis, tuple[Pair, ...]]
    audits: tuple[Audit, ...]

    @property
    def dialogues(self) -> EvaluationDialogues:
        """What training rows must not share, if the judge's threshold is to stay independent."""
        return EvaluationDialogues.of_pairs(pair for rows in self.pairs.values() for pair in rows)


def select_calibration(
    source: Path,
    settings: CalibrationSettings,
    *,
    axes: Sequence[Axis] = tuple(Axis),
    fmt: str = "auto",
    exclude: EvaluationDialogues | None = None,
) -> CalibrationPairs:
    """Draw the calibration pairs of each axis.

    Args:
        source: Folder or file.
        settings: What to draw.
        axes: The axes that the study has prompts for.
        fmt: A name of `FORMATS`, or "auto".
        exclude: The evaluation prompts' dialogues: no pair may share one.

    Raises:
        DataError: If an axis has no usable pair, or only demonstrations without a rejected
            response.
    """
    pairs, audits = {}, []
    for axis in axes:
        part = f"calibration/{axis.prompts_name}"
        found = collect_pairs(source, settings.selection(axis), part=part, fmt=fmt, exclude=exclude)
        if any(pair.rejected is None for pair in found.rows):
            raise DataError(
                f"{source}: {part} holds demonstrations without a rejected response",
                why="a threshold is set between chosen and rejected responses",
                mend="name subsets of preference pairs, or give `thresholds` as numbers",
            )
        pairs[axis] = found.rows
        audits.append(found.audit)
    return CalibrationPairs(pairs=pairs, audits=tuple(audits))
