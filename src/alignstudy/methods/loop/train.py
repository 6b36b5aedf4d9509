"""One training from start to end: encode, load, check, train, save. The same for every method."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods import method_of
from alignstudy.methods.base import METRICS_FILE, PROBE_FILE, TrainJob, TrainResult, WorkDone
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.faults import named_faults, quiet_libraries
from alignstudy.methods.guards import checks as guards
from alignstudy.methods.guards.probes import (
    PROBE_ROWS,
    dropout_difference,
    first_loss,
    first_preferences,
    forward_difference,
    last_targets,
    packing_difference,
    probe_batch,
    references_apart,
)
from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.arguments import check_device
from alignstudy.methods.loop.assembly import (
    Assembled,
    Initial,
    assemble,
    load_initial,
    settle_precision,
)
from alignstudy.methods.loop.logged import jumps_in_words, write_metrics
from alignstudy.methods.loop.renderings import rendering_for, rendering_guards
from alignstudy.methods.online.limit import EndedEarly
from alignstudy.methods.online.rollouts import SAMPLES_FILE, samples_are_whole
from alignstudy.methods.online.watching import watched
from alignstudy.methods.weights.save import save_trained
from alignstudy.models.rendering import Rendering
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from alignstudy.methods.loop.probing import Probe


SMALL = 2**24
"""Weights below which a model is small: 64 MiB in float32."""


def train(job: TrainJob) -> TrainResult:
    """Train as a job says, from its newest good checkpoint, and fill `job.out`.

    On a CPU the result is the same to the bit, whether or not the run was interrupted.

    Raises:
        GuardError: If a guard refuses, or a loss or gradient isn't finite.
        InterruptedRunError: If `job.should_stop` said so; a checkpoint was saved.
        DataError: If no row is left to train on.
        EnvironmentFault: If disk or memory is full.
    """
    from alignstudy.methods.loop.probing import Probe

    with _repeatable(), quiet_libraries(), named_faults(job):
        found, lost = checkpoints.newest_verified(job.work, digest=job.digest)
        if found and not samples_are_whole(found.folder, job.work):
            found, lost = None, (*lost, f"{SAMPLES_FILE} was damaged: training began again")
        check_device(job.device)
        rendering = rendering_for(job.parent, job.settings, job.template)
        tokenizer = rendering.tokenizer
        outcomes = [*rendering_guards(job, rendering)]
        encoded = method_of(job.settings).encode(job.rows, rendering)
        packing, initial = _check_packing(job, tokenizer, encoded)
        precision, gate, initial = settle_precision(job, encoded, tokenizer, initial)
        ready = assemble(job, encoded, tokenizer, precision=precision, initial=initial)
        outcomes += [*packing, *([gate] if gate else []), *ready.checked]
        outcomes += _measure(job, ready, encoded, rendering, precision)
        probe = Probe.of(job, ready.trainer, encoded, rendering)
        seconds, early = _run(job, ready.trainer, found, probe)
        save_trained(ready.trainer.model, job, rendering.template)
    trainer, state = ready.trainer, ready.trainer.state
    write_metrics(state.log_history, job.out / METRICS_FILE, every=job.settings.logging_steps)
    probe.write(state.log_history, job.out / PROBE_FILE)
    if trainer.method.samples:
        trainer.rollouts.write(job.out)
        outcomes += watched(trainer.rollouts.history, trainer.method.settings)
    steps = [entry for entry in state.log_history if "loss" in entry]
    resumed = (f"went on from the checkpoint of step {found.step}",) if found else ()
    merged = guards.merged_rows_note(encoded.counts)
    skipped = sum(entry["grad_norm"] == 0 for entry in steps) if precision == "fp16" else 0
    said = f"{skipped} of {len(steps)} updates overflowed float16 and were left out"
    overflowed = (said,) if skipped else ()
    ended = (str(early),) if early else ()
    kept = (*lost, *resumed, *ended, *trainer.method.notes, *ready.notes)
    jumped = tuple(jumps_in_words(steps))
    for note in jumped:
        job.progress.note(f"warning: {note}")
    seen = (*trainer.memory_notes, *trainer.method.notes_on(steps), *jumped)
    return TrainResult(
        steps=early.steps if early else state.global_step,
        epochs=float(state.epoch),
        num_tokens=trainer.tokens_read,
        seconds=seconds,
        final_loss=float(steps[-1]["loss"]),
        guards=tuple(outcomes),
        notes=(*kept, *merged, *seen, *overflowed, *probe.notes),
        counts=encoded.counts,
        work=_work_done(ready, probe),
    )


def _work_done(ready: Assembled, probe: Probe) -> WorkDone:
    """Count what a training that has ended computed."""
    trainer, references = ready.trainer, ready.references
    # A reference that wasn't asked beforehand was asked in every step.
    samples = trainer.method.samples
    asked = trainer.method.reference != "none" and not (trainer.has_references or samples)
    live = trainer.rows_read if asked else 0
    return WorkDone(
        **trainer.work,
        reference_pairs=references.computed if references else live,
        reference_reused=references.reused if references else 0,
        probed_pairs=probe.measured,
        **(trainer.rollouts.work if samples else {}),
    )


def _check_packing(
    job: TrainJob, tokenizer: PreTrainedTokenizerBase, encoded: Encoded
) -> tuple[tuple[GuardOutcome, ...], Initial | None]:
    """Refuse a model that mixes packed documents; return what was measured, and the model."""
    method = method_of(job.settings)
    if not method.packs:
        return (), None
    documents = [ids[:32] for ids in (encoded.columns["input_ids"] * 2)[:2]]
    from transformers import set_seed

    from alignstudy.methods.loop import trl_adapter as _trl

    collate = _trl.collator(method, tokenizer)
    set_seed(job.seed)  # weights may be drawn
    initial = load_initial(job)
    difference = packing_difference(initial[0], documents, collate=collate)
    name = type(initial[0]).__name__
    return (guards.documents_are_kept_apart(difference, architecture=name),), initial


def _measure(
    job: TrainJob, ready: Assembled, encoded: Encoded, rendering: Rendering, precision: str
) -> Iterator[GuardOutcome]:
    """Yield what the guards measure on the built trainer; raise where one refuses."""
    settings, trainer, method = job.settings, ready.trainer, ready.trainer.method
    batch = probe_batch(trainer)
    if settings.dropout == "off" or method.rows in {"pairs", "rated"}:
        silent = settings.lora is not None and settings.lora_dropout == 0
        difference = dropout_difference(trainer.model, batch, adapter=silent)
        yield guards.dropout_is_off(difference, kept=settings.dropout == "keep")
    if method.trains == "causal_lm" and not method.samples:
        last = [labels[-1] for labels in encoded.columns["labels"]] if method.packs else None
        compared = len(method.learnt)
        last = last or last_targets(batch, compared=compared, branches=len(method.branches))
        first = slice(len(last) // compared)
        cut, ids = encoded.truncated[first] * compared, encoded.row_ids[first] * compared
        yield guards.end_is_learnt(last, truncated=cut, row_ids=ids, end=rendering.end)
    if trainer.objective.compares_positions:
        difference, kind = forward_difference(trainer, batch), type(trainer.model).__name__
        yield guards.scores_read_forward(difference, architecture=kind)
    yield from method.guards(encoded.counts)
    if method.reference != "none" and job.reference is None and not method.samples:
        rows = ready.seen[:PROBE_ROWS]
        loss, said = first_preferences(trainer, rows, training=settings.dropout == "off")
        yield guards.reference_is_parent(
            loss, said, objective=trainer.objective.loss, beta=method.settings.beta
        )
        if trainer.has_references:
            apart = references_apart(trainer, rows, said)
            yield guards.references_are_fresh(apart, precision=precision)
    if ready.extremes is not None:
        alone, own = ready.extremes.alone, precision == "fp32"
        measured, expected = first_loss(
            trainer, ready.extremes.rows, by_own_forward=own, alone=alone
        )
        yield guards.loss_is_formula(measured, expected, precision=precision)


def _run(
    job: TrainJob,
    trainer: Any,  # noqa: ANN401
    found: checkpoints.Checkpoint | None,
    probe: Probe,
) -> tuple[float, EndedEarly | None]:
    """Run the training loop to its end.

    Returns:
        The seconds that it took, all runs together, and why it ended before its last step.
    """
    from transformers import set_seed

    from alignstudy.methods.loop.callback import ProgressAndCheckpointCallback
    from alignstudy.methods.loop.probing import ProbeCallback

    trainer.tokens_read = found.num_tokens if found else 0
    trainer.load_beside(found.folder if found else None)
    conductor = ProgressAndCheckpointCallback(
        job, trainer, seconds_before=found.seconds if found else 0.0
    )
    trainer.add_callback(conductor)
    trainer.add_callback(ProbeCallback(probe))
    job.progress.start(f"training ({trainer.args.max_steps} steps)", trainer.args.max_steps)
    if found:
        job.progress.advance(found.step)
    set_seed(job.seed)
    early: EndedEarly | None = None
    try:
        with _libraries_at_rest(trainer.model):
            trainer.train(resume_from_checkpoint=str(found.folder) if found else None)
        if not conductor.stopped:
            trainer.finish()
    except EndedEarly as reason:
        early = reason
    finally:
        job.progress.finish()
    done, planned = trainer.state.global_step, trainer.args.max_steps
    if done < planned and conductor.stopped:
        raise InterruptedRunError(
            f"training was stopped at step {done} of {planned}",
            hint="run the same command again: it goes on from there",
            kept=f"the checkpoint of step {done}",
        )
    if done != planned and early is None:
        raise GuardError(
            f"training ended at step {done} of {planned}",
            why="the trainer gave up early and reported no error",
            hint="run the same command again",
        )
    return conductor.seconds, early


@contextmanager
def _libraries_at_rest(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Look for garbage among new objects only, where what older garbage holds is small.

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
    """Set torch to deterministic algorithms, and back to what was set before."""
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
