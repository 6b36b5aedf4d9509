"""Preference pairs on which judges are judged: apart from prompts and calibration pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from alignstudy.data.contamination.exclusion import SHARES_VALIDATION, EvaluationDialogues
from alignstudy.data.select.held_out import HeldOutPairs, HeldOutSettings, select_held_out
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Axis


class ValidationSettings(HeldOutSettings):
    """Where the pairs come from on which judges, and implicit rewards, are measured."""

    part: ClassVar[str] = "validation"
    reason: ClassVar[str] = SHARES_VALIDATION
    way_out: ClassVar[str] = "leave it out with `validation: null` (judges are then not judged)"

    split: str = Field("test", min_length=1, description="split by name")


def select_validation(
    source: Path,
    settings: ValidationSettings,
    *,
    axes: Sequence[Axis] = PUBLISHED,
    fmt: str = "auto",
    exclude: EvaluationDialogues,
) -> HeldOutPairs:
    """Draw the pairs of each axis; each keeps its subset, for the accuracy by subset.

    Args:
        source: Folder or file.
        settings: What to draw.
        axes: The axes that the study has prompts for.
        fmt: A name of `FORMATS`, or "auto".
        exclude: Dialogues of the evaluation prompts and of the calibration pairs: no pair may
            share one. Training rows must leave out the `dialogues` of what is returned.

    Raises:
        DataError: If the source has no such subset or split, an axis has no usable pair, or only
            demonstrations: `validation: null` leaves it out.
    """
    return select_held_out(source, settings, axes=axes, fmt=fmt, exclude=exclude)
