"""One training from start to end: encode, load, check, train, save. The same for every method."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods.base import METRICS_FILE, TrainJob, TrainResult, WorkDone
from alignstudy.methods.batches.encode import (
    Encoded,
    encode_dialogues,
    encode_documents,
    encode_judgements,
    encode_preferences,
    encode_responses,
)
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import named_faults
from alignstudy.methods.guards import checks as guards
from alignstudy.methods.guards.probes import (
    dropout_difference,
    first_preferences,
    last_targets,
    packing_difference,
    probe_batch,
    reference_difference,
)
from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.arguments import check_device
from alignstudy.methods.loop.assembly import Assembled, assemble, load_initial, settle_precision
from alignstudy.methods.loop.metrics_file import write_metrics
from alignstudy.methods.loop.quiet import quiet_libraries
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reference.cache import References
from alignstudy.methods.reward_model import RewardModelSettings, judge_texts
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.weights.save import save_trained
from alignstudy.models.tokenizers import load_tokenizer, text_stays_open
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SMALL = 2**24
"""Weights below which a model is small: 64 MiB in float32."""


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A job whose trainer is built and whose guards have passed."""

    trainer: Any
    references: References | None
    encoded: Encoded
    guards: tuple[GuardOutcome, ...]
    notes: tuple[str, ...]


def train(job: TrainJob) -> TrainResult:
    """Train as a job says, from its newest good checkpoint, and fill `job.out`.

    On a CPU the result is the same to the bit, whether or not the run was interrupted.

    Raises:
        GuardError: If a guard refuses, or a loss or gradient isn't finite.
        InterruptedRunError: If `job.should_stop` said so; a checkpoint was saved.
        DataError: If no row is left to train on.
        EnvironmentFault: If disk or memory is full.
    """
    with _repeatable(), quiet_libraries(), named_faults(job):
        found, lost = checkpoints.newest_verified(job.work, digest=job.digest)
        ready = _prepare(job)
        seconds = _run(job, ready.trainer, found)
        save_trained(ready.trainer.model, job)
    state = ready.trainer.state
    write_metrics(state.log_history, job.out / METRICS_FILE, every=job.settings.logging_steps)
    steps = [entry for entry in state.log_history if "loss" in entry]
    resumed = (f"went on from the checkpoint of step {found.step}",) if found else ()
    return TrainResult(
        steps=state.global_step,
        epochs=float(state.epoch),
        num_tokens=int(ready.trainer._total_train_tokens),
        seconds=seconds,
        final_loss=float(steps[-1]["loss"]),
        guards=ready.guards,
        notes=(*lost, *resumed, *ready.notes, *ready.trainer.memory_notes),
        counts=ready.encoded.counts,
        work=_work_done(ready),
    )


def _work_done(ready: _Ready) -> WorkDone:
    """Count what was computed; packed rows have no padding."""
    trainer, references = ready.trainer, ready.references
    tally = trainer.tally
    # A reference that wasn't asked beforehand was asked in every step.
    live = trainer.rows_read if getattr(trainer, "precompute_ref_logps", None) is False else 0
    return WorkDone(
        real_tokens=trainer.real_tokens,
        processed_tokens=tally.processed_tokens or trainer.padded_tokens or trainer.real_tokens,
        scored_tokens=tally.scored_tokens,
        micro_batches=trainer.pieces_done,
        reference_pairs=references.computed if references else live,
        reference_reused=references.reused if references else 0,
        out_of_memory=trainer.halvings,
    )


def encode(job: TrainJob, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Encode a job's rows as its method wants them.

    Raises:
        GuardError: If a prompt doesn't end in the cue.
        DataError: If a rejected response is missing, or no row is left.
    """
    settings, rows, length = job.settings, job.rows, job.settings.max_length
    if isinstance(settings, PretrainSettings):
        return encode_documents(rows, tokenizer, max_length=length)  # type: ignore[arg-type]
    pairs: Sequence[Any] = rows
    if isinstance(settings, DPOSettings):
        return encode_preferences(pairs, tokenizer, max_length=length)
    if isinstance(settings, RewardModelSettings):
        texts = [(row.id, *judge_texts(row, settings.prompt_form)) for row in pairs]
        return encode_judgements(texts, tokenizer, max_length=length)
    if isinstance(settings, SFTSettings) and settings.loss_on == "response":
        return encode_responses(pairs, tokenizer, max_length=length)
    return encode_dialogues(pairs, tokenizer, max_length=length)


def _prepare(job: TrainJob) -> _Ready:
    """Encode rows, load models, build the trainer, and let the guards measure."""
    check_device(job.device)
    tokenizer = load_tokenizer(job.parent)
    of_tokenizer = tokenizer_guards(job, tokenizer)
    encoded = encode(job, tokenizer)
    packing = _check_packing(job, tokenizer, encoded)
    precision, gate = settle_precision(job, encoded, tokenizer)
    ready = assemble(job, encoded, tokenizer, precision=precision)
    measured = _measure(job, ready, encoded, tokenizer)
    return _Ready(
        trainer=ready.trainer,
        references=ready.references,
        encoded=encoded,
        guards=(*of_tokenizer, *packing, *((gate,) if gate else ()), *ready.checked, *measured),
        notes=(*ready.notes, *guards.merged_rows_note(encoded.counts)),
    )


def tokenizer_guards(job: TrainJob, tokenizer: PreTrainedTokenizerBase) -> tuple[GuardOutcome, ...]:
    """Let the guards look at a job's tokenizer.

    Raises:
        GuardError: If it can't mark an end, or (a language model's) marks it unasked.
    """
    padding = guards.padding_is_not_end(tokenizer)
    if isinstance(job.settings, RewardModelSettings):
        return (padding,)
    return padding, text_stays_open(tokenizer)


def _check_packing(
    job: TrainJob, tokenizer: PreTrainedTokenizerBase, encoded: Encoded
) -> tuple[GuardOutcome, ...]:
    if not (isinstance(job.settings, SFTSettings) and job.settings.packing):
        return ()
    documents = [ids[:32] for ids in (encoded.columns["input_ids"] * 2)[:2]]
    from alignstudy.methods.loop import trl_adapter as _trl

    collate = _trl.collator(job.settings, tokenizer)
    model, _ = load_initial(job)
    difference = packing_difference(model, documents, collate=collate)
    return (guards.documents_are_kept_apart(difference, architecture=type(model).__name__),)


def _measure(
    job: TrainJob, ready: Assembled, encoded: Encoded, tokenizer: PreTrainedTokenizerBase
) -> Iterator[GuardOutcome]:
    """Let the guards measure on the built trainer; raise where one refuses."""
    settings, trainer = job.settings, ready.trainer
    batch = probe_batch(trainer)
    preferences = isinstance(settings, DPOSettings | RewardModelSettings)
    if settings.dropout == "off" or preferences:
        difference = dropout_difference(trainer.model, batch)
        yield guards.dropout_is_off(difference, kept=settings.dropout == "keep")
    if not isinstance(settings, RewardModelSettings):
        packed = getattr(settings, "packing", False)
        last = [labels[-1] for labels in encoded.columns["labels"]] if packed else None
        yield _check_end(last or last_targets(batch), encoded, int(tokenizer.eos_token_id))
    if isinstance(settings, DPOSettings) or getattr(settings, "loss_on", "") == "response":
        yield guards.cue_is_shared(encoded.counts)
    if isinstance(settings, DPOSettings):
        loss, logps = first_preferences(trainer, training=settings.dropout == "off")
        yield guards.reference_is_parent(
            loss,
            logps,
            names=settings.loss_type,
            weights=settings.loss_weights,
            options=settings.options,
        )
    if ready.references is not None:
        yield guards.references_are_fresh(reference_difference(trainer), precision=ready.precision)


def _check_end(last: Sequence[int], encoded: Encoded, end: int) -> GuardOutcome:
    """Check the last targets of the first rows; of pairs, all chosen come before all rejected."""
    copies = 2 if "chosen_ids" in encoded.columns else 1
    num_rows = len(last) // copies
    return guards.end_is_learnt(
        last,
        truncated=encoded.truncated[:num_rows] * copies,
        row_ids=encoded.row_ids[:num_rows] * copies,
        end=end,
    )


def _run(job: TrainJob, trainer: Any, found: checkpoints.Checkpoint | None) -> float:  # noqa: ANN401
    """Run the training loop to its end; return the seconds that it took, all runs together."""
    from transformers import set_seed

    from alignstudy.methods.loop.trl_adapter import ProgressAndCheckpointCallback

    trainer._total_train_tokens = found.num_tokens if found else 0
    conductor = ProgressAndCheckpointCallback(
        job, trainer, seconds_before=found.seconds if found else 0.0
    )
    trainer.add_callback(conductor)
    job.progress.start(f"training ({trainer.args.max_steps} steps)", trainer.args.max_steps)
    if found:
        job.progress.advance(found.step)
    set_seed(job.seed)
    try:
        with _libraries_at_rest(trainer.model):
            trainer.train(resume_from_checkpoint=str(found.folder) if found else None)
    finally:
        job.progress.finish()
    done, planned = trainer.state.global_step, trainer.args.max_steps
    if done < planned and conductor.stopped:
        raise InterruptedRunError(
            f"training was stopped at step {done} of {planned}",
            hint="run the same command again: it goes on from there",
            kept=f"the checkpoint of step {done}",
        )
    if done != planned:
        raise GuardError(
            f"training ended at step {done} of {planned}",
            why="the trainer gave up early and reported no error",
            hint="run the same command again",
        )
    return conductor.seconds


@contextmanager
def _libraries_at_rest(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Let garbage be looked for among new objects only, where what older garbage holds is small.

    The trainer collects garbage as it begins: of a million objects of the libraries' there is none
    to be found, in 0.3 seconds. Of a large model that time is nothing, and its memory is much.
    """
    rests = sum(weight.numel() for weight in model.parameters()) < SMALL
    if rests:
        gc.freeze()
    try:
        yield
    finally:
        if rests:
            gc.unfreeze()


@contextmanager
def _repeatable() -> Iterator[None]:
    """Ask torch for deterministic algorithms, and give back what was asked before."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    switches: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filling = switches.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    switches.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        switches.fill_uninitialized_memory = filling
