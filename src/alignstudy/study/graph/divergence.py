"""The models of a study as stages that measure how far each moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.data import SelectPrompts
from alignstudy.study.stages.divergence import Diagnose

PREFERENCE_METHODS = frozenset({"dpo"})
"""Methods whose implicit reward is beta times the log-ratio to what they started from."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is measured of which model.

    Attributes:
        models: (recipe, seed) -> model.
        started_from: Gives the full weights that a chain of methods makes under a seed.
    """

    settings: StudySettings
    prompts: SelectPrompts
    device_class: str
    models: Mapping[tuple[str, int], Stage]
    base: Stage
    started_from: Callable[[tuple[str, ...], int], Stage]

    def stages(self) -> tuple[Diagnose, ...]:
        """Return one stage a model; the base, which no seed changes, once."""
        first_of: dict[tuple[str, str], int] = {}
        for (recipe, seed), model in self.models.items():
            first_of.setdefault((recipe, model.key), seed)
        return tuple(
            self._stage(recipe, seed, model)
            for (recipe, seed), model in self.models.items()
            if self.settings.diagnostics is not None and first_of[recipe, model.key] == seed
        )

    def _stage(self, recipe: str, seed: int, model: Stage) -> Diagnose:
        settings = self.settings.diagnostics
        assert settings is not None
        labels = self.settings.recipes[recipe]
        method = self.settings.methods[labels[-1]] if labels else None
        prefers = method is not None and method.method in PREFERENCE_METHODS
        measured = prefers and self.settings.validation is not None
        return Diagnose(
            name=f"diagnose/{recipe}/seed-{seed}",
            device_class=self.device_class,
            label=recipe,
            seed=seed,
            model=model,
            base=None if model is self.base else self.base,
            reference=self.started_from(labels[:-1], seed) if measured else None,
            max_length=method.max_length if measured and method is not None else None,
            prompts=self.prompts,
            settings=settings,
            max_new_tokens=settings.max_new_tokens or self.settings.generation.max_new_tokens,
        )
