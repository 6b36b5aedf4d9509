"""What every compared model is asked: by the published study's protocol, or by the rigorous one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alignstudy.data.files.reading import PLAIN, Reading
from alignstudy.data.select.from_file import draw_file_prompts
from alignstudy.data.select.paper import draw_paper_prompts
from alignstudy.data.select.prompt_settings import PromptSelection, PromptSettings
from alignstudy.data.select.rigorous import draw_rigorous_prompts
from alignstudy.errors import due_to
from alignstudy.metrics.axes import in_order


def select_prompts(
    source: Path,
    settings: PromptSettings,
    *,
    how: Reading = PLAIN,
    files: Mapping[str, Path] | None = None,
) -> PromptSelection:
    """Choose the prompts of a study.

    Args:
        source: The data that prompts are drawn from.
        settings: Which prompts.
        how: What columns mean, and which pairs come of scored answers.
        files: Axis -> file, of the sets that have one of their own; None: as the settings name it.

    Raises:
        DataError: If a set has no usable row; under the paper protocol, if it has fewer rows than
            prompts are asked for.
    """
    drawn = {axis: chosen for axis, chosen in settings.sets.items() if chosen.file is None}
    with due_to("prompts"):
        if settings.protocol == "paper":
            found = draw_paper_prompts(source, drawn, seed=settings.seed, how=how)
        else:
            found = draw_rigorous_prompts(source, drawn, seed=settings.seed, how=how)
    for axis, chosen in settings.sets.items():
        if chosen.file is not None:
            path = (files or {}).get(axis.name, Path(chosen.file))
            with due_to("prompts", axis.prompts, "file"):
                found |= draw_file_prompts(
                    path, axis, chosen, protocol=settings.protocol, seed=settings.seed
                )
    return found.in_order(in_order(settings.sets))
