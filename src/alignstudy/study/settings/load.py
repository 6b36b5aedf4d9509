"""From a preset's name or a YAML path to checked settings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from alignstudy.errors import UnknownNameError
from alignstudy.settings import as_yaml
from alignstudy.study.settings.checks import cross_faults
from alignstudy.study.settings.faults import refuse, settings_error
from alignstudy.study.settings.overrides import apply_overrides
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.yaml_file import YamlFile, parse_yaml, read_yaml


def preset_names() -> list[str]:
    """Return the names of the presets that the package brings."""
    folder = files("alignstudy.presets")
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    """Return a preset's YAML.

    Raises:
        UnknownNameError: If there is no such preset.
    """
    if name not in preset_names():
        raise UnknownNameError("preset", name, preset_names())
    return files("alignstudy.presets").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def load_settings(study: str, overrides: Sequence[str] = ()) -> tuple[str, StudySettings]:
    """Return a study's YAML as written, and its settings with `--set` applied.

    Raises:
        InputError: As `read_study` and `settings_of`.
    """
    text, file = read_study(study)
    return text, settings_of(apply_overrides(file, overrides))


def read_study(study: str) -> tuple[str, YamlFile]:
    """Return a study's YAML as written, and as data.

    Raises:
        UnknownNameError: If it is neither a preset nor a path.
        InputError: If the file can't be read.
        SettingsError: If it isn't acceptable YAML.
    """
    path = Path(study)
    if study in preset_names() and not path.is_file():
        text = preset_text(study)
        return text, parse_yaml(text, f"preset {study}")
    if path.suffix in {".yaml", ".yml"} or "/" in study or path.exists():
        file = read_yaml(path)
        return path.read_text(encoding="utf-8"), file
    raise UnknownNameError("preset", study, preset_names())


def settings_of(file: YamlFile) -> StudySettings:
    """Check a study's data.

    Raises:
        SettingsError: With every fault at once, each with file, line and key.
    """
    try:
        settings = StudySettings.model_validate(file.data)
    except ValidationError as error:
        raise settings_error(error, file, StudySettings) from None  # pydantic's words add nothing
    refuse(cross_faults(settings), file)
    return settings


def resolved_yaml(settings: StudySettings) -> str:
    """Write every setting out as YAML, defaults included."""
    return as_yaml(settings.model_dump(mode="json"))
