"""Which recipe is the measure of a study's `budget`, and what must hold of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.rounds.round import Round, rounds_of
from alignstudy.study.settings.recipes import chains
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.yaml_file import Path_


def trained(study: StudySettings) -> dict[str, tuple[TrainingSettings, ...]]:
    """Return the methods that train, of the recipes that begin with the base and have one."""
    found = {
        recipe: tuple(
            method
            for label in labels
            if isinstance(method := study.methods.get(label), TrainingSettings)
        )
        for recipe, labels in chains(study.recipes).items()
    }
    return {recipe: methods for recipe, methods in found.items() if methods}


def budget_of(study: StudySettings) -> str | None:
    """Return the recipe that says how much; None where no recipe trains."""
    if study.budget is not None and study.budget.of is not None:
        return study.budget.of
    every = trained(study)
    plain = {
        recipe: methods
        for recipe, methods in every.items()
        if not any(_samples(one) for method in methods for one in rounds_of(method))
    }
    counted: Mapping[str, int] = {r: len(methods) for r, methods in (plain or every).items()}
    return max(counted, key=lambda recipe: counted[recipe], default=None)


def _samples(one: Round) -> bool:
    """Whether how much a round takes shows only when it has run."""
    return bool(one.rule) or isinstance(one.training, OnlineSettings)


def budget_faults(study: StudySettings) -> Iterator[tuple[Path_, str]]:
    """Find a budget that names no training, and recipes that it can't hold for."""
    if study.budget is None:
        return
    of, every = budget_of(study), trained(study)
    known = ", ".join(every)
    if of is None or of not in every:
        text = "no recipe trains" if of is None else f"names '{of}', which is no recipe that trains"
        yield ("budget", "of"), f"{text}; known: {known or 'none'}"
        return
    if len(every) < 2:
        yield ("budget",), f"matches nothing: '{of}' alone trains"
    whole = chains(study.recipes)
    for recipe, methods in every.items():
        own, longer = whole[of], whole[recipe]
        if longer[: len(own)] == own and len(methods) > len(every[of]):
            yield (
                ("recipes", recipe),
                f"begins with all of '{of}', which is the budget: nothing is left for what follows;"
                f" name a longer recipe in `budget.of`",
            )
