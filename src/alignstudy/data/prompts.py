"""What every compared model is asked: by the published study's protocol, or by the rigorous one."""

from __future__ import annotations

from pathlib import Path

from alignstudy.data.paper_prompts import draw_paper_prompts
from alignstudy.data.prompt_settings import PromptSelection, PromptSettings
from alignstudy.data.rigorous_prompts import draw_rigorous_prompts


def select_prompts(source: Path, settings: PromptSettings, *, fmt: str = "auto") -> PromptSelection:
    """Choose the prompts of a study.

    Raises:
        DataError: If a set has no usable row; under the paper protocol, if it has fewer rows than
            prompts are asked for.
    """
    if settings.protocol == "paper":
        return draw_paper_prompts(source, settings)
    return draw_rigorous_prompts(source, settings, fmt=fmt)
