"""The template that a study names, as stages take it: a word, or the text of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alignstudy.errors import InputError, first_line
from alignstudy.formatting import listing
from alignstudy.models.folder import weights_in
from alignstudy.models.rendering import Rendering, rendering_of
from alignstudy.models.templates import FILE
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.recipes import existing
from alignstudy.study.settings.study import NAMED_TEMPLATES, StudySettings
from alignstudy.study.settings.yaml_file import read_small


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
        return FILE + read_small(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"the template {path} can't be read",
            why=first_line(error),
            hint=f"name a file with a Jinja template, or one of {', '.join(NAMED_TEMPLATES)}",
        ) from error


def template_in_words(settings: StudySettings, located: Located, folder: Path | None) -> str:
    """Return how models are asked and what ends their responses; "" where none is at hand yet.

    Raises:
        InputError: If a file can't be read, or there is no template where one is asked for.
        GuardError: If nothing names what ends a response.
    """
    template, said = template_for(settings, folder), {}
    for role in ("base", *(f"recipe/{name}" for name in existing(settings.recipes))):
        source = located.found.get(role)
        if source is not None and role not in located.missing:
            name = role.removeprefix("recipe/")
            said[name] = rendering_in(source.path, template).outcome().detail
    return templates_in_words(said)


def templates_in_words(said: Mapping[str, str]) -> str:
    """Say how models are asked, each way once; models are named where there are several ways."""
    ways: dict[str, list[str]] = {}
    for name, words in said.items():
        ways.setdefault(words, []).append(name)
    if len(ways) < 2:
        return "".join(ways)
    return ". ".join(f"For {listing(names)}, {words}" for words, names in ways.items())


def rendering_in(folder: Path, template: str) -> Rendering:
    """Return how the model in a folder is asked; an adapter has its own template.

    Raises:
        InputError: If it holds no tokenizer, or no template where one is asked for.
    """
    base = weights_in(folder).base or folder
    return rendering_of(load_tokenizer(folder, check_rows=False), template, base)
