"""What guards, layouts and updates may ask of a trainer; `loop/trl_adapter.py` has the real one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from alignstudy.methods.batches.pieces import MicroBatchRule
    from alignstudy.methods.method import Method, Objective
    from alignstudy.methods.scoring.shared_forward import ScoringRoute, Tally

Batch = dict[str, Any]


class Trainer(Protocol):
    """A trainer before or between its steps.

    Attributes:
        model: What is trained: a PEFT model where an adapter is.
        args: transformers' TrainingArguments.
        train_dataset: The encoded rows; `row` is their number.
        data_collator: Makes a batch of rows.
        method: What is trained by, with its settings.
        objective: Its loss.
        route: How the model scores texts; None for a classifier.
        rule: How updates are cut to pieces; None where they aren't (packed rows).
        tally: What training passes computed.
        has_references: Whether the reference's log-probabilities are in the rows.
        reference: The second model that is asked in every step, where one is.
        row_ids: The rows' ids, by number.
        rollouts: Of a method that samples.
        work: What updates computed so far, by the names of `WorkDone`.
        critic: What foretells the samples' rewards, where the method has one.
        measured_tokens: Positions that went through a model without a gradient, to be learnt from.
        measured_targets: Those of them at which the vocabulary was computed.
    """

    model: Any
    args: Any
    train_dataset: Any
    data_collator: Any
    method: Method[Any]
    objective: Objective
    route: ScoringRoute | None
    rule: MicroBatchRule | None
    tally: Tally
    has_references: bool
    reference: Any
    row_ids: tuple[str, ...]
    rollouts: Any
    work: dict[str, int]
    critic: Any
    measured_tokens: int
    measured_targets: int

    def go_on_from(self, work: Mapping[str, int]) -> None:
        """Count on from what earlier runs of the training computed."""

    def read_updates(self) -> None:
        """Look at what updates came to that weren't looked at; refuse what is no number."""

    def prepare(self, batch: Batch) -> Batch:
        """Move a collated batch to the trainer's device."""

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the precision of training."""

    def read(self, model: Any, batch: Batch) -> tuple[Any, Any]:  # noqa: ANN401
        """Return what the model says of a batch: what the objective takes, and a router's loss."""

    def compute_loss(self, model: Any, inputs: Batch) -> Tensor:  # noqa: ANN401
        """Return the loss of a batch."""

    def by_route(
        self, *, sharing: int | None = None, flat: bool = True
    ) -> AbstractContextManager[None]:
        """Score batches more simply than the route says."""

    def log_probs(self, model: Any, batch: Mapping[str, Any]) -> Tensor:  # noqa: ANN401
        """Return the (R, T-1) log-probabilities of a batch's targets, 0 elsewhere, in nats."""

    def pair_log_probs(self, model: Any, pairs: Batch) -> Tensor:  # noqa: ANN401
        """Return the (2B, T-1) log-probabilities of chosen and rejected responses, 0 elsewhere."""
