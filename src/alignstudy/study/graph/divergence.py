"""The models of a study as stages that measure how far each moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.data import SelectPrompts
from alignstudy.study.stages.divergence import Diagnose

PREFERENCE_METHODS = frozenset({"dpo"})
"""Methods whose implicit reward is beta times the log-ratio to what they started from."""


def divergence_stages(
    study: StudySettings,
    models: Mapping[tuple[str, int], Stage],
    *,
    base: Stage,
    prompts: SelectPrompts,
    device_class: str,
    started_from: Callable[[tuple[str, ...], int], Stage],
) -> tuple[Diagnose, ...]:
    """Return one stage a model; the base, which no seed changes, once.

    Args:
        study: What is measured, if anything.
        models: (recipe, seed) -> model.
        base: What each is compared with.
        prompts: On which it is measured.
        device_class: Of the stages.
        started_from: Returns the full weights that a chain of methods makes under a seed.
    """
    settings = study.diagnostics
    if settings is None:
        return ()
    found: dict[tuple[str, str], Diagnose] = {}
    for (recipe, seed), model in models.items():
        if (recipe, model.key) in found:
            continue
        labels = study.recipes[recipe]
        method = study.methods[labels[-1]] if labels else None
        prefers = method is not None and method.method in PREFERENCE_METHODS
        measured = prefers and study.validation is not None
        found[recipe, model.key] = Diagnose(
            name=f"diagnose/{recipe}/seed-{seed}",
            device_class=device_class,
            label=recipe,
            seed=seed,
            model=model,
            base=None if model is base else base,
            reference=started_from(labels[:-1], seed) if measured else None,
            max_length=method.max_length if measured and method is not None else None,
            prompts=prompts,
            settings=settings,
            max_new_tokens=settings.max_new_tokens or study.generation.max_new_tokens,
        )
    return tuple(found.values())
