"""Labelled pairs on which judges' thresholds are set: an axis each, apart from the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from alignstudy.data.contamination.exclusion import SHARES_CALIBRATION, EvaluationDialogues
from alignstudy.data.select.held_out import HeldOutPairs, HeldOutSettings, select_held_out
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Axis


class CalibrationSettings(HeldOutSettings):
    """Where the pairs come from on which thresholds are calibrated."""

    part: ClassVar[str] = "calibration"
    reason: ClassVar[str] = SHARES_CALIBRATION
    way_out: ClassVar[str] = "give `thresholds` as numbers"


def select_calibration(
    source: Path,
    settings: CalibrationSettings,
    *,
    axes: Sequence[Axis] = PUBLISHED,
    fmt: str = "auto",
    exclude: EvaluationDialogues | None = None,
) -> HeldOutPairs:
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
    return select_held_out(source, settings, axes=axes, fmt=fmt, exclude=exclude)
