"""Whether a model computes the same by our layouts: measured on the training's longest rows.

A mask of ours says who may see whom. A model whose layers see by other rules (a sliding window, a
convolution, distances between places in the row) may not heed it, or lose its own rule by it, and
policy and reference would be wrong alike: no other guard would notice.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from alignstudy.methods.base import Trainer
from alignstudy.methods.guards.checks import REFERENCE_TOLERANCE
from alignstudy.methods.guards.probes import target_log_probs
from alignstudy.records import GuardOutcome

LONGEST = 2
"""Rows that are compared: what a window or a distance changes shows in the longest first."""


def settle_layout(
    trainer: Trainer, *, precision: str
) -> tuple[tuple[GuardOutcome, ...], tuple[str, ...]]:
    """Compare the longest rows by our layout with one text a row; where they differ, go without.

    Args:
        trainer: Before its first step; its layout is changed if it has to be.
        precision: "fp32" or "bf16".

    Returns:
        What was measured (nothing where there is nothing to measure), and a note if our layout is
        not used, or not wholly.
    """
    lean = trainer.lean
    if not (lean.pairs or lean.flat):
        return (), ()
    rows = trainer.train_dataset
    parts = [
        name for name in rows.column_names if name.endswith("_ids") and not name.startswith("ref")
    ]
    lengths = [sum(map(len, values)) for values in zip(*(rows[p] for p in parts), strict=True)]
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    longest = trainer.data_collator([rows[row] for row in order[:LONGEST]])
    batch = trainer._prepare_inputs(longest)
    wanted = [(lean.pairs, lean.flat)]
    if lean.pairs and trainer.rule.joined:
        wanted.append((True, False))  # on a CPU rows of pairs may be padded, too
    lean.pairs = lean.flat = False
    plain = _sums(trainer, batch)
    notes: tuple[str, ...] = ()
    for pairs, flat in wanted:
        lean.pairs, lean.flat = pairs, flat
        apart, fault = float("inf"), ""
        try:
            ours = _sums(trainer, batch)
            apart = float(((ours - plain).abs() / plain.abs().clamp_min(1)).max())
        except Exception as error:
            words = (str(error).strip().splitlines() or [""])[0][:200]
            fault = f"the model can't: {type(error).__name__}: {words}"
        if apart <= REFERENCE_TOLERANCE[precision]:
            detail = (
                f"log-probabilities of the longest rows, each alone or not, differ by {apart:.2g}"
            )
            return (GuardOutcome(guard="layouts_agree", passed=True, detail=detail),), notes
        lean.flat = False
        trainer.rule = replace(trainer.rule, joined=False)
        why = fault or f"log-probabilities of the longest rows would differ by {apart:.2g}"
        notes = (f"rows are not joined: {why}",)
    lean.pairs = False
    lost = "prompts are not shared, rows not joined" if wanted[0][0] else "rows are not joined"
    return (), (f"{lost}: {why}",)


def _sums(trainer: Trainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the (R,) summed log-probabilities of a batch's texts, without dropout."""
    was_training = trainer.model.training
    trainer.model.eval()
    try:
        return target_log_probs(trainer, batch).sum(1)
    finally:
        trainer.model.train(was_training)
