"""The template that a study names, as stages take it: a word, or the text of a file."""

from __future__ import annotations

from pathlib import Path

from alignstudy.errors import InputError, first_line
from alignstudy.models.rendering import load_rendering
from alignstudy.models.templates import FILE
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.study import NAMED_TEMPLATES, StudySettings


def template_for(settings: StudySettings, folder: Path | None) -> str:
    """Return how a study's prompts are written; the paper protocol's are asked letter by letter.

    Args:
        settings: The study.
        folder: Of its file; None for a preset.

    Raises:
        InputError: If a file is named that can't be read.
    """
    asked = settings.template
    if asked in NAMED_TEMPLATES:
        return "hh" if settings.prompts.protocol == "paper" else asked
    path = (folder or Path()) / asked
    try:
        return FILE + path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"the template {path} can't be read",
            why=first_line(error),
            hint=f"name a file with a Jinja template, or one of {', '.join(NAMED_TEMPLATES)}",
        ) from error


def template_in_words(settings: StudySettings, located: Located, folder: Path | None) -> str:
    """Return how the base is asked and what ends its responses; "" where it is not at hand yet.

    Raises:
        InputError: If a file can't be read, or there is no template where one is asked for.
        GuardError: If nothing names what ends a response.
    """
    source = located.found.get("base")
    if source is None or "base" in located.missing:
        return ""
    return load_rendering(source.path, template_for(settings, folder)).outcome().detail
