"""Responses in, scores out: a judge is plugged in by one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from alignstudy.judges.base import (
    MAX_INCOMPLETE_SHARE,
    Judge,
    JudgeScore,
    batch_effect,
    incomplete_share,
)
from alignstudy.judges.calibrate import Calibration, best_threshold
from alignstudy.judges.constant import ConstantSettings
from alignstudy.judges.length import LengthSettings
from alignstudy.judges.seqcls import SeqClsSettings
from alignstudy.registry import Registry

JUDGES = Registry(
    "judge",
    {
        "seqcls": "alignstudy.judges.seqcls:SeqClsJudge",
        "constant": "alignstudy.judges.constant:ConstantJudge",
        "length": "alignstudy.judges.length:LengthJudge",
    },
)
"""Every kind of judge."""

JudgeSettings = Annotated[
    SeqClsSettings | ConstantSettings | LengthSettings, Field(discriminator="use")
]
"""The settings of any judge; `use` says of which."""


def build(
    settings: SeqClsSettings | ConstantSettings | LengthSettings, folder: Path | None, device: str
) -> Judge:
    """Make a judge ready to score.

    Args:
        settings: Of the judge's kind.
        folder: Its model; None for judges without one.
        device: Where it runs; see `loading.pick_device`.

    Raises:
        InputError: If it needs a folder and none is given, or files are missing.
        GuardError: If its head isn't trained, or has several outputs and none is named.
    """
    judge: Judge = JUDGES.load(settings.use).build(settings, folder, device)
    return judge


__all__ = [
    "JUDGES",
    "MAX_INCOMPLETE_SHARE",
    "Calibration",
    "ConstantSettings",
    "Judge",
    "JudgeScore",
    "JudgeSettings",
    "LengthSettings",
    "SeqClsSettings",
    "batch_effect",
    "best_threshold",
    "build",
    "incomplete_share",
]
