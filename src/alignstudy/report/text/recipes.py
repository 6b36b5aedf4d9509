"""The recipes of a study in words: what was trained, and what was computed from weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alignstudy.formatting import listing, short

Recipes = Mapping[str, Any]
"""Name -> as a resolved study file has it: labels of methods, or a mapping."""


def recipe_in_words(
    name: str, recipes: Recipes, methods: Recipes, *, is_tuned: bool = False
) -> str:
    """Return what makes a recipe's model; its own name where that is all that is known.

    Args:
        name: The recipe's.
        recipes: Of the study; {} where there is none.
        methods: Label -> the method's settings.
        is_tuned: Whether those are only what trials began with.
    """
    given = recipes.get(name, [name])
    if isinstance(given, Mapping) and "from" in given:
        return f"not trained here: {given['from']}"
    if isinstance(given, Mapping) and "slerp" in given:
        one, other = given["slerp"]
        return f"weights on the arc from {one} to {other}, at {short(given['t'], 2)} of it"
    if isinstance(given, Mapping):
        return f"the mean of the weights of {_averaged(given)}"
    return ", then ".join(_steps(given, methods, is_tuned=is_tuned)) or "not trained further"


def _averaged(given: Mapping[str, Any]) -> str:
    names = list(given["average"])
    if given["weights"]:
        shares = zip(names, given["weights"], strict=True)
        names = [f"{name} ({short(weight, 2)})" for name, weight in shares]
    return listing(names) + (" under all seeds: one model" if given["over"] == "seeds" else "")


def _steps(labels: list[str], methods: Recipes, *, is_tuned: bool) -> Iterator[str]:
    for at, label in enumerate(labels):
        method = methods.get(label, {})
        if method.get("method") == "expo":
            times = f"{short(1.0 + method['alpha'], 2)} times"
            times = "more of" if is_tuned else times
            yield f"{label} ({times} what {labels[at - 1]} changed, nothing trained)"
        else:
            yield label


def existing_models(recipes: Recipes) -> list[str]:
    """Return the recipes that are models which weren't trained here."""
    return [name for name, given in recipes.items() if _is(given, "from")]


def pooled_models(recipes: Recipes) -> list[str]:
    """Return the recipes that are one model, made of all seeds' models."""
    return [name for name, given in recipes.items() if _is(given, "over", "seeds")]


def untuned_models(settings: Recipes) -> list[str]:
    """Return the recipes without a method of their own: there is nothing to tune."""
    recipes: Recipes = settings.get("recipes") or {}
    return [name for name, given in recipes.items() if not given or isinstance(given, Mapping)]


def _is(given: object, key: str, value: str | None = None) -> bool:
    """Return whether a recipe has a key, with that value if one is named."""
    return isinstance(given, Mapping) and key in given and value in (None, given[key])
