"""What stops a training whose numbers would be silently wrong.

Each guard gets what was measured on the real model and trainer, and either returns what it saw
or raises with the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError
from alignstudy.methods.model_outputs import PairLogps, RatedLogps
from alignstudy.records import GuardOutcome
from alignstudy.records.evidence import COLLAPSED

if TYPE_CHECKING:
    from torch import Tensor

MARGIN_TOLERANCE = 1e-4
"""Largest implicit reward margin, and relative error of the first loss, before the first step."""
REFERENCE_TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 5e-3}
"""Largest relative difference of a kept reference log-probability from a recomputed one."""
LOSS_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
"""Largest relative difference (absolute, below 1) of a loss from its formula in float64: rounding
of whole log-probabilities, of some hundred nats, times beta."""
PACKING_TOLERANCE = 1e-3
"""Largest change of a logit through a neighbour in the row, in standard deviations of logits."""
MERGE_TOLERANCE = 1e-3
"""Largest change of a logit through merging an adapter, in standard deviations of logits."""
FORWARD_TOLERANCE = 1e-3
"""Largest change of an unfinished text's score through what follows, in standard deviations."""


def end_is_learnt(
    last_targets: Sequence[int], *, truncated: Sequence[bool], row_ids: Sequence[str], end: int
) -> GuardOutcome:
    """Refuse rows that weren't cut and yet don't end in a learnt end-of-sequence token.

    Args:
        last_targets: The last token of each row that the loss sees, as the collator made it.
        truncated: Whether the row's end was cut off.
        row_ids: Names of the rows.
        end: The end-of-sequence token's id.

    Raises:
        GuardError: Naming the rows.
    """
    rows = zip(row_ids, last_targets, truncated, strict=True)
    checked = [(row, last) for row, last, cut in rows if not cut]
    faulty = [row for row, last in checked if last != end]
    if faulty:
        raise GuardError(
            f"{len(faulty)} of {len(checked)} rows don't teach the end of a response",
            why=f"their last target isn't the end token {end}: rows {', '.join(faulty[:3])}",
            hint="use a tokenizer that encodes its own eos_token as one token",
        )
    seen = f"{len(checked)} uncut rows, as collated, end in the learnt token {end}"
    return GuardOutcome(guard="end_is_learnt", passed=True, detail=seen)


def scores_read_forward(difference: float, *, architecture: str) -> GuardOutcome:
    """Refuse a classifier whose score of an unfinished text knows how the text goes on.

    Args:
        difference: Largest change of a score, or of a whole text's from the one that a judge reads,
            in standard deviations of scores.
        architecture: Its name.

    Raises:
        GuardError: If it does.
    """
    if not difference <= FORWARD_TOLERANCE:
        raise GuardError(
            f"{architecture} doesn't score unfinished texts",
            why=f"what follows changes a score by up to {difference:.3g} standard deviations",
            hint="say loss_on: end, or take a classifier on a decoder (OPT, Llama, GPT-2, ...)",
        )
    detail = f"what follows changes no score (by {difference:.2g} standard deviations at most)"
    return GuardOutcome(guard="scores_read_forward", passed=True, detail=detail)


def merged_rows_note(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return a note on rows whose prompt and response had to be tokenized apart, if any."""
    merged = counts["merged_at_border"]
    if not merged:
        return ()
    return (
        f"in {merged} of {counts['used']} rows a token would reach across the prompt's end: prompt"
        " and response were tokenized apart, so that responses follow the tokens that are asked",
    )


def dropout_is_off(difference: float, *, kept: bool) -> GuardOutcome:
    """Refuse a model whose training pass is noisy although dropout was switched off.

    Args:
        difference: Largest difference of logits between two passes in training mode.
        kept: Whether the study asked to keep dropout.

    Raises:
        GuardError: If the passes differ and dropout should be off.
    """
    if kept:
        return GuardOutcome(
            guard="dropout_is_off",
            passed=False,
            detail="dropout: keep: the model's dropout stays on, logits of two training passes"
            f" differ by up to {difference:.3g}; losses and margins are noisy",
        )
    if difference != 0:
        raise GuardError(
            f"dropout is off, yet two training passes differ by {difference:.3g}",
            why="the model drops units in a way that its configuration doesn't switch off",
            hint="say dropout: keep to train with the noise, or use another architecture",
        )
    seen = "two training passes give identical logits"
    return GuardOutcome(guard="dropout_is_off", passed=True, detail=seen)


def reference_is_parent(
    loss: float, said: PairLogps | RatedLogps, *, objective: Callable[[Any], Tensor], beta: float
) -> GuardOutcome:
    """Refuse a preference training that doesn't start at its reference.

    Args:
        loss: The trainer's own loss on the probe rows before the first step.
        said: Their log-probabilities under policy and reference.
        objective: The loss that trains; what it is at the reference, it says itself.
        beta: What implicit rewards are scaled by.

    Raises:
        GuardError: If a margin isn't 0, or the loss isn't what it is at margin 0.
    """
    expected = float(objective(said.at_reference()).mean())
    margin = float((beta * said.margin).abs().max())
    seen = (
        f"loss {loss:.6f}, expected {expected:.6f}; largest implicit reward margin {margin:.2g}"
        f" on {len(said.margin)} rows"
    )
    close = abs(loss - expected) <= MARGIN_TOLERANCE * max(1.0, abs(expected))
    if not (close and margin < MARGIN_TOLERANCE):
        raise GuardError(
            "the reference is not the model that training starts from",
            why=f"before the first step: {seen}",
            hint="train from saved weights (TrainJob.parent); if they are, please report this",
        )
    return GuardOutcome(guard="reference_is_parent", passed=True, detail=seen)


def loss_is_formula(measured: float, expected: float, *, precision: str) -> GuardOutcome:
    """Refuse a trainer whose loss is not what its formula gives.

    Args:
        measured: The trainer's own loss on the probe rows, before the first step.
        expected: The formula's, in float64.
        precision: "fp32", "bf16" or "fp16".

    Raises:
        GuardError: If they differ.
    """
    return _is_rounding(
        abs(measured - expected) / max(1.0, abs(expected)),
        LOSS_TOLERANCE[precision],
        guard="loss_is_formula",
        seen=f"the trainer's loss is {measured:.6f}, its formula gives {expected:.6f}",
        fault="the trainer's loss is not what its formula gives",
        hint="set precision: fp32; if it is, please report this",
    )


def references_are_fresh(difference: float, *, precision: str) -> GuardOutcome:
    """Refuse reference log-probabilities that the reference doesn't give.

    Args:
        difference: Largest relative difference from recomputed log-probabilities.
        precision: "fp32", "bf16" or "fp16".

    Raises:
        GuardError: If they differ.
    """
    return _is_rounding(
        difference,
        REFERENCE_TOLERANCE[precision],
        guard="references_are_fresh",
        seen="kept and computed reference log-probabilities differ by"
        f" {difference:.2g}, relatively",
        fault="reference log-probabilities are not those of the model that training starts from",
        hint="delete the store's folder `references`: they are computed again",
    )


def documents_are_kept_apart(difference: float, *, architecture: str) -> GuardOutcome:
    """Refuse packing where a document's logits depend on its neighbour in the row.

    Args:
        difference: Largest change of a logit, in standard deviations of the logits.
        architecture: Name of the model class, for the message.

    Raises:
        GuardError: If they do.
    """
    return _is_rounding(
        difference,
        PACKING_TOLERANCE,
        guard="documents_are_kept_apart",
        seen=f"logits of two documents change by {difference:.2g} standard deviations when packed",
        fault=f"packing: {architecture} reads across the documents of a packed row",
        hint="set packing: false (group_by_length: true saves most of the padding)",
    )


def merge_is_faithful(difference: float) -> GuardOutcome:
    """Refuse merged weights that compute something else than the adapter on its base.

    Args:
        difference: Largest change of a logit, in standard deviations of the logits.

    Raises:
        GuardError: If they do.
    """
    return _is_rounding(
        difference,
        MERGE_TOLERANCE,
        guard="merge_is_faithful",
        seen=f"logits change by {difference:.2g} standard deviations through merging",
        fault="the merged weights don't compute what the adapter computes",
        hint="go on with the adapter on its base instead of merged weights",
    )


def chosen_are_still_likely(change: float, *, step: int, pairs: str, kept: str) -> None:
    """Refuse to go on with a loss that has no lower bound and has lost the chosen responses.

    Args:
        change: Of their mean log-probability since the start, in nats a token.
        step: After which it was measured.
        pairs: On which.
        kept: What a second run need not do again.

    Raises:
        GuardError: If it is below `COLLAPSED`.
    """
    if change < COLLAPSED:
        raise GuardError(
            f"training has destroyed what it should prefer: after step {step} chosen responses are"
            f" {-change:.1f} nats a token less likely than at the start",
            why=f"the loss has no lower bound and falls for ever; measured on {pairs}, at most"
            f" {-COLLAPSED:g} is allowed",
            hint="set max_steps below that step, or lower learning_rate",
            kept=kept,
        )


def _is_rounding(
    difference: float, most: float, *, guard: str, seen: str, fault: str, hint: str
) -> GuardOutcome:
    """Refuse a difference that is more than rounding, or not a number."""
    if not difference <= most:
        raise GuardError(fault, why=f"{seen}; at most {most:g} is rounding", hint=hint)
    return GuardOutcome(guard=guard, passed=True, detail=seen)
