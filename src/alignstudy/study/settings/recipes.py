"""The recipes of a study file: chains of methods, and models that one already has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_serializer

from alignstudy.settings import Many, Settings

NOT_BOTH = (
    "a recipe is a list of methods, or a model that is compared as it is (`{from: MODEL}`), and not"
    " both; to train that model, make it the `base` of a study"
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


def _one_kind(given: object) -> object:
    """Refuse what is a list of methods and an existing model at once."""
    listed = isinstance(given, list) and any(isinstance(item, dict) for item in given)
    named = isinstance(given, dict) and any(isinstance(item, list) for item in given.values())
    if listed or named:
        raise ValueError(NOT_BOTH)
    return given


def _kind(given: Any) -> str:  # noqa: ANN401 - whatever a study file holds
    return "model" if isinstance(given, dict | ExistingModel) else "methods"


Recipe = Annotated[
    Annotated[Many[str], Tag("methods")] | Annotated[ExistingModel, Tag("model")],
    Discriminator(_kind),
    BeforeValidator(_one_kind),
]
"""Labels of methods, in order; or a model that isn't trained here."""


def chains(recipes: Mapping[str, tuple[str, ...] | ExistingModel]) -> dict[str, tuple[str, ...]]:
    """Return the recipes that begin with the base: name -> labels."""
    return {name: given for name, given in recipes.items() if not isinstance(given, ExistingModel)}


def existing(recipes: Mapping[str, tuple[str, ...] | ExistingModel]) -> dict[str, ExistingModel]:
    """Return the models that aren't trained here, by recipe."""
    return {name: given for name, given in recipes.items() if isinstance(given, ExistingModel)}
