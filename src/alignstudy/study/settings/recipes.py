"""The recipes of a study file: chains of methods, models that one already has, mixed weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from alignstudy.analysis.results import Lineage
from alignstudy.settings import Many, Settings

ONE_KIND = (
    "a recipe is a list of methods, or a model that is compared as it is (`{from: MODEL}`), or made"
    " of other recipes' weights (`{average: [...]}`, `{slerp: [A, B]}`): one of these and not both;"
    " to train a model that you have, make it the `base` of a study"
)


class ExistingModel(Settings):
    """A model that is compared as it is: nothing of it is trained here."""

    path: str = Field(
        alias="from", min_length=1, description="Hub id, or a folder in Hugging Face layout."
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")

    @model_serializer
    def _as_written(self) -> dict[str, str | None]:
        """Write it as a study file has it: `from` is no name in Python."""
        return {"from": self.path, "revision": self.revision}


class Average(Settings):
    """The mean of other recipes' weights: seed by seed, or one model of all seeds."""

    average: Many[str] = Field(
        min_length=1, description="Recipes that are trained here (arXiv 2203.05482)."
    )
    weights: Many[Annotated[float, Field(gt=0)]] | None = Field(
        None, description="One a recipe, summing to 1; null: equal."
    )
    over: Literal["recipes", "seeds"] = Field(
        "recipes",
        description="recipes: a model for each seed, of that seed's models; seeds: one model, of"
        " the models of all seeds.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Average:
        if len(set(self.average)) < len(self.average):
            raise ValueError("a recipe stands twice in `average`: give it a larger weight")
        if self.over == "recipes" and len(self.average) < 2:
            raise ValueError("the average of one recipe is that: name two, or give `over: seeds`")
        if self.weights is None:
            return self
        if len(self.weights) != len(self.average):
            raise ValueError(
                f"there are {len(self.weights)} `weights` of {len(self.average)} recipes"
            )
        if not isclose(sum(self.weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"`weights` sum to {sum(self.weights):g}, not to 1")
        return self

    @property
    def members(self) -> tuple[str, ...]:
        """The recipes that it is made of."""
        return self.average

    @property
    def shares(self) -> dict[str, float]:
        """Recipe -> its share; they sum to 1."""
        given = self.weights or (1.0,) * len(self.average)
        return {name: each / sum(given) for name, each in zip(self.average, given, strict=True)}


class SphericalMean(Settings):
    """A point between two recipes' weights on the arc, tensor by tensor, for each seed."""

    slerp: Many[str] = Field(
        min_length=2,
        max_length=2,
        description="Two recipes that are trained here (doi:10.1145/325165.325242).",
    )
    t: float = Field(0.5, gt=0, lt=1, description="0 would be the first, 1 the second.")

    @field_validator("slerp")
    @classmethod
    def _two_recipes(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(given)) < len(given):
            raise ValueError("between a recipe and itself there is nothing: name two")
        return given

    @property
    def members(self) -> tuple[str, ...]:
        """The recipes that it lies between."""
        return self.slerp


Mixture = Average | SphericalMean
"""What is made of other recipes' weights."""

_KINDS = {"average": "an average", "slerp": "a point on an arc", "from": "a model"}
"""What a key says of the recipe that has it."""


def _one_kind(given: object) -> object:
    """Refuse what is of several kinds at once."""
    if isinstance(given, list):
        several = any(isinstance(item, dict) for item in given)
    else:
        kinds = _KINDS.keys() & given.keys() if isinstance(given, dict) else set()
        lists = isinstance(given, dict) and any(isinstance(it, list) for it in given.values())
        several = len(kinds) > 1 or (lists and not kinds & {"average", "slerp"})
    if several:
        raise ValueError(ONE_KIND)
    return given


def _kind(given: Any) -> str:  # noqa: ANN401 - whatever a study file holds
    if isinstance(given, Average):
        return _KINDS["average"]
    if isinstance(given, SphericalMean):
        return _KINDS["slerp"]
    if isinstance(given, dict):
        return next((kind for key, kind in _KINDS.items() if key in given), _KINDS["from"])
    return _KINDS["from"] if isinstance(given, ExistingModel) else "methods"


AnyRecipe = tuple[str, ...] | ExistingModel | Mixture

Recipe = Annotated[
    Annotated[Many[str], Tag("methods")]
    | Annotated[ExistingModel, Tag(_KINDS["from"])]
    | Annotated[Average, Tag(_KINDS["average"])]
    | Annotated[SphericalMean, Tag(_KINDS["slerp"])],
    Discriminator(_kind),
    BeforeValidator(_one_kind),
]
"""Labels of methods, in order; or a model that isn't trained here, or made of other recipes'."""


def chains(recipes: Mapping[str, AnyRecipe]) -> dict[str, tuple[str, ...]]:
    """Return the recipes that begin with the base: name -> labels."""
    return {name: given for name, given in recipes.items() if isinstance(given, tuple)}


def existing(recipes: Mapping[str, AnyRecipe]) -> dict[str, ExistingModel]:
    """Return the models that aren't trained here, by recipe."""
    return {name: given for name, given in recipes.items() if isinstance(given, ExistingModel)}


def mixtures(recipes: Mapping[str, AnyRecipe]) -> dict[str, Mixture]:
    """Return the models that are made of other recipes' weights, by recipe."""
    return {name: given for name, given in recipes.items() if isinstance(given, Mixture)}


def lineages(recipes: Mapping[str, AnyRecipe]) -> dict[str, Lineage]:
    """Return the chains that each recipe's models come from, seed by seed.

    A model that isn't another one in every seed comes from none: the base, one that isn't trained
    here, one that is made of all seeds' models.
    """
    listed = chains(recipes)
    found: dict[str, Lineage] = {name: (each,) if each else () for name, each in listed.items()}
    for name, given in mixtures(recipes).items():
        if not (isinstance(given, Average) and given.over == "seeds"):
            found[name] = tuple(listed[member] for member in given.members if listed[member])
    return found
