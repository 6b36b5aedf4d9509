"""A trainer put together: its model loaded, the reference's part done, its precision settled."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alignstudy.errors import InputError
from alignstudy.methods import method_of
from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.guards.precision import Precision, pick_precision, precision_gate
from alignstudy.methods.guards.probes import PROBE_ROWS
from alignstudy.methods.loop.arguments import check_target_modules
from alignstudy.methods.reference.ahead import add_references, reference_model
from alignstudy.methods.reference.cache import References
from alignstudy.methods.weights.initial import (
    check_is_filed,
    has_weights,
    initial_causal_lm,
    initial_classifier,
    is_noisy,
)
from alignstudy.progress import SILENT
from alignstudy.records import GuardOutcome
from alignstudy.runtime.device import context_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from alignstudy.methods.scoring.layout_check import Extremes


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A trainer that is ready for its guards.

    Attributes:
        references: What was computed or kept of the reference; None where there is none, or it is
            part of every step.
        seen: Numbers of the rows that updates will see, where a reference's values are put into
            those alone; else of all.
        extremes: The rows that the layout was measured on; None where there is none of ours.
        checked: What was measured of the layout.
        notes: Where the weights are from, if not from the parent's files.
    """

    trainer: Any
    references: References | None
    seen: Sequence[int]
    extremes: Extremes | None
    checked: tuple[GuardOutcome, ...]
    notes: tuple[str, ...]


Initial = tuple["PreTrainedModel", str]
"""What training starts from, and a note on where its weights are from."""


def settle_precision(
    job: TrainJob,
    encoded: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    initial: Initial | None = None,
) -> tuple[Precision, GuardOutcome | None, Initial | None]:
    """Decide on the precision; a mixed one must prove itself on the first rows.

    Args:
        job: The job.
        encoded: Its rows.
        tokenizer: The parent's.
        initial: The model, if it was loaded before.

    Returns:
        It, what was measured, and a copy of the model, if there is one: it needn't be read again.

    Raises:
        GuardError: If it was asked for by name, and its losses leave float32's.
        InputError: If fp16 is asked for on a CPU.
    """
    import torch
    from transformers import set_seed

    wanted = pick_precision(job.settings.precision, job.device)
    if wanted == "fp32":
        return wanted, None, initial
    first = encoded.rows(range(min(PROBE_ROWS, len(encoded.row_ids))))
    settings, kept = job.settings.for_one_update(len(first.row_ids)), None
    probe = replace(job, settings=settings, references=None, progress=SILENT)
    if not job.settings.in_4bit:  # whose blocks don't leave the device that made them
        set_seed(job.seed)
        model, note = initial or load_initial(replace(job, device="cpu"))
        initial = model.to("cpu"), note
        kept = deepcopy(initial[0]), note
    trainer = assemble(probe, first, tokenizer, precision="fp32", initial=initial).trainer
    outcome = precision_gate(trainer, job.settings.precision)
    del trainer, initial
    gc.collect()  # its parts know each other: they would hold the memory that training wants
    if job.device != "cpu":
        torch.cuda.empty_cache()
    return (wanted if outcome.passed else "fp32"), outcome, kept


def assemble(
    job: TrainJob,
    encoded: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    *,
    precision: Precision,
    initial: Initial | None = None,
) -> Assembled:
    """Load the model, build the trainer, and have the reference's log-probabilities ready.

    Args:
        job: The job.
        encoded: Its rows.
        tokenizer: The parent's.
        precision: To train in.
        initial: The model as loaded, wherever it is; None: it is loaded now.

    Raises:
        InputError: If rows are longer than the model reads, or a LoRA target is no layer.
        InterruptedRunError: If a stop was asked for; what was computed is kept.
    """
    from transformers import set_seed

    from alignstudy.methods.loop import trl_adapter as _trl

    set_seed(job.seed)
    model, note = initial or load_initial(job)
    model = model.to(job.device)
    # The reference is asked once for every pair, before the first step; but not where an adapter is
    # trained with the model's own dropout kept: there the published way asks a reference that is
    # noised in every step. A reference of full weights never is. And not where whole distributions
    # are compared, which nobody could keep.
    method = method_of(job.settings)
    compares, own = method.reference != "none", job.reference is None
    noised = own and job.settings.lora is not None and is_noisy(model.config)
    in_steps = compares and (method.samples or method.objective.compares_vocabulary)
    ahead = compares and not (noised or in_steps)
    if compares and own and not noised and has_weights(job.parent):
        check_is_filed(model, job.parent, device=job.device)
    set_seed(job.seed)
    trainer = _trl.build(
        job, encoded, model=model, tokenizer=tokenizer, precision=precision, references_ahead=ahead
    )
    if in_steps and not (own and job.settings.lora is not None):
        trainer.reference = reference_model(job, trainer)
    seen = sorted({*((ahead and _trl.rows_seen(trainer)) or range(len(encoded.row_ids)))})
    extremes, checked, why = _settle_layout(trainer, encoded, seen, precision)
    references = None
    if ahead:
        references, fresh = add_references(job, trainer, encoded, seen, tokenizer, precision)
        checked += fresh
    return Assembled(
        trainer=trainer,
        references=references,
        seen=seen,
        extremes=extremes,
        checked=checked,
        notes=(note, *why) if note else why,
    )


def _settle_layout(
    trainer: Any,  # noqa: ANN401
    encoded: Encoded,
    seen: Sequence[int],
    precision: Precision,
) -> tuple[Extremes | None, tuple[GuardOutcome, ...], tuple[str, ...]]:
    """Hold how rows go through the model against its own forward; see `settle_route`."""
    from alignstudy.methods.scoring.layout_check import Extremes, packed_head, settle_route

    if trainer.method.packs:
        return None, (packed_head(trainer, precision=precision),), ()
    if trainer.route is None:
        return None, (), ()
    extremes = Extremes.of(encoded.lengths, seen)
    return extremes, *settle_route(trainer, extremes, precision=precision)


def load_initial(job: TrainJob) -> Initial:
    """Load what a job trains, with a note on where its weights are from; see `initial`."""
    classifier = method_of(job.settings).trains == "classifier"
    packed = partial(initial_causal_lm, in_4bit=job.settings.in_4bit)
    load = initial_classifier if classifier else packed
    model, note = load(job.parent, device=job.device, dropout=job.settings.dropout)
    length, context = job.settings.max_length, context_length(model.config)
    if length > context:
        raise InputError(
            f"max_length {length} is more than the model can read",
            why=f"its context is {context} tokens",
            hint=f"set max_length to {context} at most",
        )
    if job.settings.lora is not None:
        check_target_modules(job.settings.lora, model)
    return model, note
