"""Which models are measured against the base, as stages."""

from __future__ import annotations

from collections.abc import Mapping

from alignstudy.methods import method_of
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.data import SelectPrompts
from alignstudy.study.stages.divergence import Diagnose
from alignstudy.study.stages.train import Train


def diagnoses(
    study: StudySettings,
    models: Mapping[tuple[str, int], Stage],
    *,
    base: Stage,
    prompts: SelectPrompts,
    device_class: str,
    template: str,
) -> tuple[Diagnose, ...]:
    """Return what measures how far each model moved; one that no seed changes is measured once.

    Args:
        study: Its settings.
        models: By recipe and seed.
        base: What they are measured against.
        prompts: After which they are sampled.
        device_class: Of all stages.
        template: How prompts are written.
    """
    settings = study.diagnostics
    if settings is None:
        return ()
    found: dict[tuple[str, str], Diagnose] = {}
    for (recipe, seed), model in models.items():
        if (recipe, model.key) in found:
            continue
        reference, max_length = None, None
        trained = model if isinstance(model, Train) and study.validation is not None else None
        if trained is not None and method_of(trained.settings).reference != "none":
            reference = trained.reference or trained.parent
            max_length = trained.settings.max_length
        found[recipe, model.key] = Diagnose(
            name=f"diagnose/{recipe}/seed-{seed}",
            device_class=device_class,
            label=recipe,
            seed=seed,
            model=model,
            base=None if model is base else base,
            reference=reference,
            max_length=max_length,
            prompts=prompts,
            settings=settings,
            max_new_tokens=settings.max_new_tokens or study.generation.max_new_tokens,
            template=template,
        )
    return tuple(found.values())
