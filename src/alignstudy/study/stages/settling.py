"""Settings that are known only when a study runs: a tuning's choice, a budget's steps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from alignstudy.methods.base import TrainingSettings
from alignstudy.study.graph.stage import FolderOf, Stage

SETTINGS = "settings.json"


class SettlesSettings(Stage):
    """A stage whose artefact holds settings.json: values that trainings take instead of theirs."""


Asked = TypeVar("Asked", bound=TrainingSettings)


def settled(settings: Asked, by: Iterable[SettlesSettings], folder_of: FolderOf) -> Asked:
    """Return settings with what finished stages say of them; later ones go first."""
    found: dict[str, Any] = {}
    for stage in by:
        found |= json.loads((folder_of(stage) / SETTINGS).read_text(encoding="utf-8"))
    return type(settings)(**{**settings.model_dump(), **found}) if found else settings
