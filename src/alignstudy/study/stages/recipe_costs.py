"""What it took to make each compared model, from what its stages have counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from alignstudy.records.ranking import RecipeCost
from alignstudy.study.graph.stage import Stage
from alignstudy.study.stages.base_models import ScratchModel
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


def as_spent(
    costs: tuple[RecipeCost, ...], budget: tuple[Mapping[str, Any], ...]
) -> tuple[RecipeCost, ...]:
    """Return costs as a budget counted them, where there is one: nothing is taken for kept.

    Args:
        costs: Of all recipes.
        budget: A row a recipe and seed; see `ReportInputs.budget`.
    """
    found: dict[str, list[float | None]] = {}
    for row in budget:
        found.setdefault(row["recipe"], []).append(row["flops"])
    means = {
        recipe: None if None in each else sum(flops or 0.0 for flops in each) / len(each)
        for recipe, each in found.items()
    }
    return tuple(replace(each, flops=means.get(each.model, each.flops)) for each in costs)


def _cost(
    recipe: str, models: list[Stage], facts_of: Callable[[Stage], Mapping[str, Any]]
) -> RecipeCost:
    """Return the mean over a recipe's models, one a seed."""
    chains = [_reached(model, choices=False) for model in models]
    # A model that is the same under every seed was made once.
    flops = [_flops(chain, facts_of) for chain in chains]
    tuned = [_flops(_trials(model), facts_of) for model in models]
    known = [each for each in flops if each is not None]
    trials = [each for each in tuned if each is not None]
    return RecipeCost(
        model=recipe,
        flops=sum(known) / len(known) if len(known) == len(flops) else None,
        tuning_flops=sum(trials) / len(trials) if any(trials) else None,
    )


def _trials(model: Stage) -> list[Stage]:
    """Return the trials that chose what made a model."""
    return [stage for stage in _reached(model, choices=True) if stage.in_trial]


def _reached(model: Stage, *, choices: bool) -> list[Stage]:
    """Return what made a model, each stage once; not what made the base, or a judge.

    Args:
        model: Its stage.
        choices: Whether what chose among trials is followed. What solved a number of steps is not:
            it leads to the budget's recipe.
    """
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key in found or _is_aside(stage):
            return
        found[stage.key] = stage
        settles = getattr(stage, "settled", ())
        passed = {each.key for each in settles if each.changes_work or not choices}
        for needed in stage.inputs():
            if needed.key not in passed:
                visit(needed)

    visit(model)
    return [*found.values()]


def _is_aside(stage: Stage) -> bool:
    return isinstance(stage, Train) and isinstance(stage.parent, ScratchModel)


def _flops(stages: Iterable[Stage], facts_of: Callable[[Stage], Mapping[str, Any]]) -> float | None:
    """Add up what stages counted; None where a training didn't, or counted its last part only."""
    total = 0.0
    for stage in stages:
        facts = facts_of(stage)
        found = facts.get("flops")
        if facts.get("resumed") or (found is None and isinstance(stage, Train)):
            return None
        total += found or 0.0
    return total
