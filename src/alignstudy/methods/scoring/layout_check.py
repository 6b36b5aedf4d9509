"""Whether a model scores the same by our routes as by its own forward: held against it, before use.

A mask of ours says who may see whom. A model whose layers see by other rules (a sliding window, a
convolution, distances between places in the row) may not heed it, or lose its own rule by it; a
head of more than one matrix is not a product with its last one. Policy and reference would be wrong
alike: no other guard would notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from alignstudy.errors import GuardError, first_line
from alignstudy.methods.guards.checks import REFERENCE_TOLERANCE
from alignstudy.methods.guards.probes import rows_batch
from alignstudy.methods.scoring.own_forward import EachAlone, own_scores
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.scoring.shared_forward import ScoringRoute
from alignstudy.methods.trainer import Batch, Trainer
from alignstudy.records import GuardOutcome

_LOST = {
    "joined": "rows are not joined",
    "shared": "prompts are not shared, rows not joined",
    "head": "the model's own head is used, on all positions",
}


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """The rows that stand for all, the longest and the shortest, and what the model says of them.

    What a window or a distance changes shows in the longest first; what reaches over from a
    neighbour, or from padding, in the shortest: most of what it could see isn't its own.

    Attributes:
        rows: Their numbers.
        alone: What the model's own forward says of their texts.
    """

    rows: tuple[int, ...]
    alone: EachAlone = field(default_factory=EachAlone)

    @classmethod
    def of(cls, lengths: Sequence[int], among: Iterable[int]) -> Extremes:
        """Choose them.

        Args:
            lengths: Tokens of all rows, all of a row's texts together.
            among: Numbers of the rows that are read at all.
        """
        rows = sorted(among, key=lambda row: (-lengths[row], row))
        return cls(rows=tuple(dict.fromkeys((rows[0], rows[-1]))))


def settle_route(
    trainer: Trainer, extremes: Extremes, *, precision: str
) -> tuple[tuple[GuardOutcome, ...], tuple[str, ...]]:
    """Find the fastest route by which the rows that stand for all have the model's own values.

    Args:
        trainer: Before its first step; its route is changed if it has to be.
        extremes: Those rows; what the model's own forward says of them is kept there.
        precision: "fp32", "bf16" or "fp16".

    Returns:
        What was measured, and a note if the fastest route is not used.

    Raises:
        GuardError: If not even padded rows through the model's own forward have them.
    """
    route = trainer.route
    assert route is not None
    batch, asked = rows_batch(trainer, extremes.rows), replace(route)
    truth = _alone(trainer, batch, extremes.alone)
    lost = why = ""
    for loses, found in _routes(asked, joined=bool(trainer.rule and trainer.rule.joined)):
        vars(route).update(vars(found))
        apart, fault = float("inf"), ""
        try:
            ours = _sums(trainer, batch)
            apart = float(((ours - truth).abs() / truth.abs().clamp_min(1)).max())
        except Exception as error:
            fault = f"the model can't: {type(error).__name__}: {first_line(error)[:200]}"
        lost = _LOST.get(loses, lost)
        if apart <= REFERENCE_TOLERANCE[precision]:
            if trainer.rule is not None:
                trainer.rule = replace(trainer.rule, joined=trainer.rule.joined and found.flat)
            detail = (
                "log-probabilities of the longest and the shortest row differ from those of the"
                f" model's own forward by {apart:.2g}, relatively"
            )
            outcome = GuardOutcome(guard="log_probs_are_the_models", passed=True, detail=detail)
            return (outcome,), (f"{lost}: {why}",) if lost else ()
        why = fault or f"log-probabilities would differ by {apart:.2g}"
    name = type(unwrapped(trainer.model)).__name__
    raise GuardError(
        f"{name} gives padded rows other log-probabilities than each row",
        why=why,
        hint="use an architecture whose tokens see only what comes before them",
    )


def packed_head(trainer: Trainer, *, precision: str) -> GuardOutcome:
    """Refuse packed rows where the fused head isn't the model's own: they know no other route.

    Raises:
        GuardError: If a packed row has other log-probabilities than by the model's own forward.
    """
    row = trainer.train_dataset[0]["input_ids"]
    ids = torch.tensor([row], device=next(trainer.model.parameters()).device)
    model, was_training = unwrapped(trainer.model), trainer.model.training
    trainer.model.eval()
    with torch.no_grad(), trainer.autocast():
        fused = trainer.model(input_ids=ids, labels=ids, use_cache=False, fused_lm_head=True)
        truth = own_scores(model, ids, torch.ones_like(ids), ids).log_probs
    trainer.model.train(was_training)
    assert truth is not None
    sums = [float(part.float().sum()) for part in (fused.log_probs, truth)]
    apart = abs(sums[0] - sums[1]) / max(1.0, abs(sums[1]))
    detail = f"log-probabilities differ from those of the model's own forward by {apart:.2g}"
    if not apart <= REFERENCE_TOLERANCE[precision]:
        raise GuardError(
            f"packing: {type(model).__name__} has a head of its own",
            why=detail,
            hint="set packing: false: rows are then scored by the model's own forward",
        )
    return GuardOutcome(guard="log_probs_are_the_models", passed=True, detail=detail)


def _routes(asked: ScoringRoute, *, joined: bool) -> list[tuple[str, ScoringRoute]]:
    """List routes, the fastest first, each with what is lost against the one before it."""
    if asked.own:
        return [("", asked)]
    routes = [("", asked)]
    shared = asked.sharing > 1
    if asked.flat and (joined or not shared):  # on a CPU rows that share prompts may be padded, too
        routes.append(("joined", replace(asked, flat=False)))
    if shared:
        routes.append(("shared", replace(asked, sharing=1, flat=False)))
    return [*routes, ("head", ScoringRoute(own=True))]


def _alone(trainer: Trainer, batch: Batch, alone: EachAlone) -> torch.Tensor:
    """Return the (R,) sums of log-probabilities, each text by itself through its own forward."""
    model, was_training = unwrapped(trainer.model), trainer.model.training
    texts, squares = (batch["input_ids"], batch["attention_mask"]), trainer.objective.weighs_pairs
    trainer.model.eval()
    with torch.no_grad(), trainer.autocast():
        said = alone.scores(model, *texts, labels_of(batch), squares=squares)
    trainer.model.train(was_training)
    assert said.log_probs is not None
    return said.log_probs.float().sum(1)


def labels_of(batch: Batch) -> torch.Tensor:
    """Return the (R, T) targets of a collated batch at their own places, IGNORED elsewhere."""
    if "labels" in batch:
        labels: torch.Tensor = batch["labels"]
        return labels
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    return labels


def _sums(trainer: Trainer, batch: Batch) -> torch.Tensor:
    """Return the (R,) summed log-probabilities of a batch's texts, without dropout."""
    was_training = trainer.model.training
    trainer.model.eval()
    try:
        with torch.no_grad(), trainer.autocast():
            found: torch.Tensor = trainer.log_probs(trainer.model, batch).float().sum(1)
            return found
    finally:
        trainer.model.train(was_training)
