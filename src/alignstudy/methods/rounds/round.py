"""A round: which prompts are sampled after, what becomes of the samples, what trains on it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from alignstudy.methods.base import TrainingSettings
from alignstudy.settings import Settings


class SamplingSettings(Settings):
    """How a method's own samples are drawn; a sample that doesn't end is left out.

    Names as in transformers' GenerationConfig.
    """

    temperature: float = Field(default=1.0, gt=0, description="divides the logits before drawing")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="the likeliest tokens that hold this share are drawn"
    )
    max_new_tokens: int = Field(default=256, ge=1, description="most tokens of a sample")


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a method.

    Attributes:
        training: What trains, and how.
        slice: Which rows: (number from 0, of how many parts); a prompt's rows stay together.
        rule: Name of what rows and samples become, in `RULES`; "": the rows are trained on.
        sampling: How samples are drawn from the model that the round starts from.
        samples: Drawn after each prompt.
        ranked_by: The judge that scores them, where the rule heeds scores; "": the study's choice.
        keeps_last: Whether the rows of the round before are trained on as well.
        reward_model: What learns what the rule makes of rows and samples; its scores are what the
            training learns, on the rows as they are. Later rounds go on from it. None: what trains
            learns the rule's rows itself.
        reference: Whose log-probabilities count: the model that the round starts from, or the
            first.
    """

    training: TrainingSettings
    slice: tuple[int, int] = (0, 1)
    rule: str = ""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    samples: int = 1
    ranked_by: str = ""
    keeps_last: bool = False
    reward_model: TrainingSettings | None = None
    reference: Literal["last", "start"] = "last"


class MakesRows(Settings):
    """Settings of a method that trains in rounds."""

    @property
    @abstractmethod
    def rounds(self) -> tuple[Round, ...]:
        """What is done, in order."""

    @model_validator(mode="after")
    def _rounds_can_be_trained(self) -> Self:
        """Refuse what the training inside a round would refuse, and who isn't who was sampled."""
        try:
            packed = any(each.rule and each.training.in_4bit for each in self.rounds)
        except ValidationError as error:
            said = (fault["msg"].removeprefix("Value error, ") for fault in error.errors())
            raise ValueError("; ".join(said)) from error
        if packed:
            raise ValueError(
                "lora.load_in_4bit: samples are drawn from the model as its files hold it, and"
                " another one, in 4 bits, would learn from them; leave it out"
            )
        return self


def rounds_of(settings: TrainingSettings) -> tuple[Round, ...]:
    """Return a method's rounds: one, on the rows as they are, of a method that makes none."""
    return settings.rounds if isinstance(settings, MakesRows) else (Round(training=settings),)


Inner = TypeVar("Inner", bound=TrainingSettings)


def inner(settings: TrainingSettings, kind: type[Inner], **changes: Any) -> Inner:  # noqa: ANN401
    """Return the settings of the training inside a round: the method's own where both have them."""
    own = settings.model_dump(exclude_unset=False)
    shared = {name: own[name] for name in kind.model_fields if name in own and name != "method"}
    return kind(**{**shared, **changes})
