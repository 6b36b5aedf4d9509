"""Responses in, scores out: a judge is plugged in by one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from alignstudy.judges.base import Judge, JudgeScore
from alignstudy.judges.kinds.constant import ConstantSettings
from alignstudy.judges.kinds.length import LengthSettings
from alignstudy.judges.kinds.python_source import PythonSettings, source_digest
from alignstudy.judges.kinds.rules import RulesSettings
from alignstudy.judges.kinds.seqcls import SeqClsSettings
from alignstudy.metrics.refusal import PATTERNS_VERSION
from alignstudy.registry import Registry

JUDGES = Registry(
    "judge",
    {
        "seqcls": "alignstudy.judges.kinds.seqcls:SeqClsJudge",
        "rules": "alignstudy.judges.kinds.rules:RulesJudge",
        "python": "alignstudy.judges.kinds.python:PythonJudge",
        "length": "alignstudy.judges.kinds.length:LengthJudge",
        "constant": "alignstudy.judges.kinds.constant:ConstantJudge",
    },
)
"""Every kind of judge."""

AnySettings = SeqClsSettings | RulesSettings | PythonSettings | LengthSettings | ConstantSettings

JudgeSettings = Annotated[AnySettings, Field(discriminator="use")]
"""The settings of any judge; `use` names its kind."""


def build(settings: AnySettings, folder: Path | None, device: str, *, workers: int = 1) -> Judge:
    """Make a judge ready to score.

    Args:
        settings: Of the judge's kind.
        folder: Its model; for a Python judge where its module is looked for first (None: the
            current folder); None for judges without either.
        device: Where it runs; see `loading.pick_device`.
        workers: Processes that a classifier's work may be spread over, on a CPU and where that
            pays; the scores are the same, to the bit. Other judges stay in this process.

    Raises:
        InputError: If it needs a folder and none is given, or files are missing.
        GuardError: If its head isn't trained, or has several outputs and none is named, or the
            folder would run code of its own.
    """
    spread = {"workers": workers} if isinstance(settings, SeqClsSettings) else {}
    judge: Judge = JUDGES.load(settings.use).build(settings, folder, device, **spread)
    return judge


def code_of(settings: AnySettings, folder: Path | None = None) -> str:
    """Name the code that scores depend on besides settings and weights; "" where there is none.

    A stage's key must hold it: a Python judge's source by its hash, the rules' version of their
    patterns.

    Raises:
        InputError: If a Python judge's module isn't there.
    """
    if isinstance(settings, PythonSettings):
        return source_digest(settings, folder)
    return f"patterns {PATTERNS_VERSION}" if isinstance(settings, RulesSettings) else ""


__all__ = [
    "JUDGES",
    "ConstantSettings",
    "Judge",
    "JudgeScore",
    "JudgeSettings",
    "LengthSettings",
    "PythonSettings",
    "RulesSettings",
    "SeqClsSettings",
    "build",
    "code_of",
]
