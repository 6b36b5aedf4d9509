"""Settings that are known only when a study runs: a tuning's choice, a budget's steps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from alignstudy.methods.grids import Tuned, with_values
from alignstudy.study.graph.stage import FolderOf, Stage

SETTINGS = "settings.json"


class SettlesSettings(Stage):
    """A stage whose artefact holds settings.json: values that trainings take instead of theirs.

    Attributes:
        changes_work: Whether they change how much a training computes.
    """

    changes_work: ClassVar[bool] = True

    def settings(self, folder_of: FolderOf) -> dict[str, Any]:
        """Read the values; a stage that can tell them about before it is made, does.

        Raises:
            NotCountableError: If they aren't known yet.
        """
        found: dict[str, Any] = json.loads((folder_of(self) / SETTINGS).read_text(encoding="utf-8"))
        return found


Asked = TypeVar("Asked", bound=Tuned)


def settled(settings: Asked, by: Iterable[SettlesSettings], folder_of: FolderOf) -> Asked:
    """Return settings with what finished stages say of them; later ones go first."""
    found: dict[str, Any] = {}
    for stage in by:
        found |= stage.settings(folder_of)
    return with_values(settings, found) if found else settings
