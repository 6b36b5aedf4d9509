"""What it took to make each compared model, from what its stages have counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.records.ranking import RecipeCost
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.stages.train import Train


def recipe_costs(
    models: Mapping[tuple[str, int], Stage], facts_of: Callable[[Stage], Mapping[str, Any]]
) -> tuple[RecipeCost, ...]:
    """Add up the FLOPs of each recipe's chain, from the base on; the base's own are none of it.

    Args:
        models: (recipe, seed) -> the stage that made the model.
        facts_of: Returns what was noted when a stage was made.

    Returns:
        One a recipe. What stages take that only settle a training's settings is its tuning.
    """
    by_recipe: dict[str, list[Stage]] = {}
    for (recipe, _), model in models.items():
        by_recipe.setdefault(recipe, []).append(model)
    return tuple(_cost(recipe, made, facts_of) for recipe, made in by_recipe.items())


def _cost(
    recipe: str, models: list[Stage], facts_of: Callable[[Stage], Mapping[str, Any]]
) -> RecipeCost:
    """Return the mean over a recipe's models, one a seed."""
    chains = [_chain(model) for model in models]
    # A model that is the same under every seed was made once.
    flops = [_flops(chain, facts_of) for chain in chains]
    settling = [
        [stage for stage in in_order([model]) if stage.key not in chain]
        for model, chain in zip(models, chains, strict=True)
    ]
    tuned = [_flops({s.key: s for s in _made(stages)}, facts_of) for stages in settling]
    known = [each for each in flops if each is not None]
    trials = [each for each in tuned if each is not None]
    return RecipeCost(
        model=recipe,
        flops=sum(known) / len(known) if len(known) == len(flops) else None,
        tuning_flops=sum(trials) / len(trials) if any(trials) else None,
    )


def _made(stages: list[Stage]) -> Iterator[Stage]:
    """Leave out what pretrained the base."""
    for stage in stages:
        if not (isinstance(stage, Train) and isinstance(stage.settings, PretrainSettings)):
            yield stage


def _chain(model: Stage) -> dict[str, Stage]:
    """Return what made a model, by key, without what only settled its settings."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key in found:
            return
        found[stage.key] = stage
        settled = {each.key for each in getattr(stage, "settled", ())}
        for needed in stage.inputs():
            if needed.key not in settled:
                visit(needed)

    visit(model)
    return {stage.key: stage for stage in _made([*found.values()])}


def _flops(
    stages: Mapping[str, Stage], facts_of: Callable[[Stage], Mapping[str, Any]]
) -> float | None:
    """Add up what stages counted; None where a training didn't, or counted its last part only."""
    total = 0.0
    for stage in stages.values():
        facts = facts_of(stage)
        found = facts.get("flops")
        if facts.get("resumed") or (found is None and isinstance(stage, Train)):
            return None
        total += found or 0.0
    return total
