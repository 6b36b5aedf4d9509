"""What a training method declares and owns: the entries of `METHODS` are classes like this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.losses.state import LossState
from alignstudy.models.rendering import Rendering
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from torch import Tensor

Figures = dict[str, tuple["Tensor", "Tensor | int"]]
"""Name -> (sum, number): what a step logs is a mean, over whatever micro-batches."""

SettingsType = TypeVar("SettingsType", bound=TrainingSettings)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss that trains.

    Attributes:
        loss: (B,) losses of the rows in a micro-batch, from what the model says of them:
            `TextLogps`, `PairLogps` or `PairScores`.
        mean_over: What an update averages over: its rows, or its targets (a row's loss is then a
            sum over its own).
        couples_rows: Whether a row's loss depends on the others of its micro-batch, which then stay
            together, as they come.
        needs_reference: Whether it compares the policy with a reference.
        compares_vocabulary: Whether it compares their whole distributions: the reference is then
            asked in every step, beside the policy.
        weighs_pairs: Whether it weights pairs by how likely they are for the policy.
        compares_positions: Whether it compares a classifier's scores of unfinished texts.
        state: What the loss remembers between micro-batches; empty where it remembers nothing.
        unbounded: Whether nothing but the number of steps keeps it from falling for ever.
    """

    loss: Callable[[Any], Tensor]
    mean_over: Literal["rows", "targets"] = "rows"
    couples_rows: bool = False
    needs_reference: bool = False
    compares_vocabulary: bool = False
    weighs_pairs: bool = False
    compares_positions: bool = False
    state: LossState = field(default_factory=LossState)
    unbounded: bool = False


class Method(ABC, Generic[SettingsType]):
    """A way to train: what it needs, and what is its own.

    Attributes:
        settings_type: What a study's `methods:` entry is read with.
        rows: What a row is: a `Document`, a `Pair` whose chosen response is learnt, a `Pair` of
            which both are compared, or a `Rated` response.
        branches: The texts that a row becomes, in the order of a batch.
        measured: Those of them, the last, that are scored without a gradient.
        trains: What kind of model comes out.
        in_recipes: Whether a recipe may name it; else it makes what recipes need.
        samples: Whether it learns from what the policy writes while it is trained.
    """

    settings_type: ClassVar[type[TrainingSettings]]
    rows: Literal["documents", "demonstrations", "pairs", "rated"] = "pairs"
    branches: tuple[str, ...] = ("chosen", "rejected")
    measured: tuple[str, ...] = ()
    trains: ClassVar[Literal["causal_lm", "classifier"]] = "causal_lm"
    in_recipes: ClassVar[bool] = True
    samples: ClassVar[bool] = False

    def __init__(self, settings: SettingsType) -> None:
        self.settings = settings

    @abstractmethod
    def encode(self, rows: Sequence[Any], rendering: Rendering) -> Encoded:
        """Encode rows: `input_ids` and `labels`, or `prompt_ids` and `<branch>_ids`.

        Raises:
            GuardError: If a prompt can't be what generation will ask.
            DataError: If a row lacks a response, or no row is left.
        """

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """The loss that trains."""

    @property
    def reference(self) -> Literal["none", "parent", "start"]:
        """What log-ratios are against: where this training starts, or where the recipe does."""
        return "none"

    @property
    def packs(self) -> bool:
        """Whether several texts fill a row."""
        return False

    @property
    def writes_prompts(self) -> bool:
        """Whether dialogues are written by the model's template, which is then saved with it."""
        return self.trains == "causal_lm"

    @property
    def shares_prompts(self) -> bool:
        """Whether the texts that are learnt from may go through the model on one prompt."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual in the settings, and allowed, in words."""
        return ()

    @property
    def learnt(self) -> tuple[str, ...]:
        """The branches that are learnt from."""
        return self.branches[: len(self.branches) - len(self.measured)]

    def figures(self, batch: Any, losses: Tensor) -> Figures:  # noqa: ANN401
        """Return what a step logs of a micro-batch beside the loss, by the trainers' names."""
        del batch, losses
        return {}

    def notes_on(self, steps: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
        """Return what the figures that steps logged show of the whole training, in words."""
        del steps
        return ()

    def guards(self, counts: Mapping[str, int]) -> tuple[GuardOutcome, ...]:
        """Return what the method's own guards see in the counts of its encoded rows.

        Raises:
            GuardError: If one refuses.
        """
        del counts
        return ()
