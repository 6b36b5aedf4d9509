"""What must hold between the recipes of a study, its methods and its seeds."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

from alignstudy.methods.expo import ExPOSettings
from alignstudy.study.settings.ranking import ranking_faults
from alignstudy.study.settings.recipes import (
    AnyRecipe,
    Average,
    Mixture,
    SphericalMean,
    chains,
    mixtures,
)
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.yaml_file import Path_

Fault = tuple[Path_, str]


def recipe_faults(study: StudySettings) -> Iterator[Fault]:
    """Find every contradiction: the path of keys, and what is wrong there."""
    listed = chains(study.recipes)
    for recipe, labels in listed.items():
        for text in (*_unknown_methods(labels, study), *_idle_extrapolations(labels, study)):
            yield ("recipes", recipe), text
    used = {label for labels in listed.values() for label in labels}
    for label in study.methods:
        if label not in used:
            yield ("methods", label), "is in no recipe"
    for recipe, given in mixtures(study.recipes).items():
        yield from _mixture_faults(recipe, given, study)
    yield from ranking_faults(study)
    if len({_meant(given) for given in study.recipes.values()}) < len(study.recipes):
        yield ("recipes",), "two recipes are the same"


def _unknown_methods(labels: tuple[str, ...], study: StudySettings) -> Iterator[str]:
    known = ", ".join(study.methods) or "none"
    for label in labels:
        if label not in study.methods:
            yield f"names method '{label}', which `methods` doesn't hold; known: {known}"


def _idle_extrapolations(labels: tuple[str, ...], study: StudySettings) -> Iterator[str]:
    """Find where a recipe extrapolates nothing that was trained."""
    expo = [isinstance(study.methods.get(label), ExPOSettings) for label in labels]
    for at, label in enumerate(labels):
        if expo[at] and at == 0:
            yield (
                f"begins with '{label}', which goes on in the direction of the method before it:"
                " put one before it"
            )
        elif expo[at] and expo[at - 1]:
            yield f"has '{label}' after '{labels[at - 1]}': say in one `alpha` how far to go"


def _mixture_faults(recipe: str, given: Mixture, study: StudySettings) -> Iterator[Fault]:
    """Find members that aren't trained here, and seeds that aren't there."""
    key = "slerp" if isinstance(given, SphericalMean) else "average"
    listed: Mapping[str, AnyRecipe] = study.recipes
    known = ", ".join(chains(listed))
    for at, name in enumerate(given.members):
        if name not in listed:
            text = f"names '{name}', which is no recipe; its members can be: {known}"
            yield ("recipes", recipe, key, at), text
        elif not isinstance(listed[name], tuple):
            text = f"names '{name}', which isn't a list of methods; its members can be: {known}"
            yield ("recipes", recipe, key, at), text
    if not isinstance(given, Average) or given.over == "recipes":
        return
    if len(study.seeds) < 2:
        yield ("recipes", recipe, "over"), "seeds: there is one seed; list several under `seeds`"
    if not any(chains(listed).get(name) for name in given.members):
        yield ("recipes", recipe, "average"), "is the base: it is the same under every seed"


def _meant(given: AnyRecipe) -> Hashable:
    """Return what makes two recipes the same, however they are written."""
    if isinstance(given, Average):
        return frozenset(given.shares.items()), given.over
    return given
