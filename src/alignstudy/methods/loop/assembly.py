"""A trainer put together: its model loaded, the reference's part done, its precision settled."""

from __future__ import annotations

import gc
import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError, InputError
from alignstudy.methods.base import Trainer, TrainJob
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.guards.precision import Precision, pick_precision, precision_gate
from alignstudy.methods.guards.probes import PROBE_ROWS, adapter_off, target_log_probs
from alignstudy.methods.loop.arguments import check_target_modules
from alignstudy.methods.reference.cache import Reference, References, reference_logps
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.weights.initial import (
    has_weights,
    initial_causal_lm,
    initial_classifier,
    is_noisy,
)
from alignstudy.models.digests import weights_digest
from alignstudy.models.load import load_causal_lm
from alignstudy.progress import SILENT
from alignstudy.records import GuardOutcome, Weights
from alignstudy.runtime.device import context_length, device_name
from alignstudy.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A trainer that is ready for its guards.

    Attributes:
        references: What was computed or kept of the reference; None where there is none, or it is
            part of every step.
        checked: What was measured of the layout.
        notes: Where the weights are from, if not from the parent's files.
    """

    trainer: Any
    references: References | None
    checked: tuple[GuardOutcome, ...]
    notes: tuple[str, ...]


def settle_precision(
    job: TrainJob, encoded: Encoded, tokenizer: PreTrainedTokenizerBase
) -> tuple[Precision, GuardOutcome | None]:
    """Decide on the precision; bf16 must prove itself on the first rows.

    Raises:
        GuardError: If bf16 was asked for by name, and its losses leave float32's.
    """
    import torch

    wanted = pick_precision(job.settings.precision, job.device)
    if wanted == "fp32":
        return wanted, None
    first = replace(  # what was counted was counted of all
        encoded,
        columns={name: values[:PROBE_ROWS] for name, values in encoded.columns.items()},
        row_ids=encoded.row_ids[:PROBE_ROWS],
        truncated=encoded.truncated[:PROBE_ROWS],
    )
    probe = replace(job, references=None, progress=SILENT)
    trainer = assemble(probe, first, tokenizer, precision="fp32").trainer
    outcome = precision_gate(trainer, job.settings.precision)
    del trainer
    gc.collect()  # its parts know each other: they would hold the memory that training wants
    if job.device != "cpu":
        torch.cuda.empty_cache()
    return ("bf16" if outcome.passed else "fp32"), outcome


def assemble(
    job: TrainJob,
    encoded: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    *,
    precision: Precision,
) -> Assembled:
    """Load the model, build the trainer, and have the reference's log-probabilities ready.

    Args:
        job: The job.
        encoded: Its rows.
        tokenizer: The parent's.
        precision: To train in.

    Raises:
        InputError: If rows are longer than the model reads, or a LoRA target is no layer.
        InterruptedRunError: If a stop was asked for; what was computed is kept.
    """
    from transformers import set_seed

    from alignstudy.methods.loop import trl_adapter as _trl
    from alignstudy.methods.scoring.layout_check import settle_layout

    set_seed(job.seed)
    model, note = load_initial(job)
    # The reference is asked once for every pair, before the first step; but not where an adapter is
    # trained with the model's own dropout kept: there the published way asks a reference that is
    # noised in every step. A reference of full weights never is.
    lora = job.settings.lora is not None
    ahead = isinstance(job.settings, DPOSettings) and not (lora and is_noisy(model.config))
    if ahead and has_weights(job.parent):
        _check_parent(job, model)
    set_seed(job.seed)
    trainer = _trl.build(
        job, encoded, model=model, tokenizer=tokenizer, precision=precision, references_ahead=ahead
    )
    notes: tuple[str, ...] = (note,) if note else ()
    checked: tuple[GuardOutcome, ...] = ()
    if trainer.lean is not None:
        checked, why = settle_layout(trainer, precision=precision)
        notes += why
    references = None
    if ahead:
        references = _computed_references(job, trainer, encoded, tokenizer, precision)
        for name in ("chosen", "rejected"):
            column = list(getattr(references, name))
            trainer.train_dataset = trainer.train_dataset.add_column(f"ref_{name}_logps", column)
    return Assembled(trainer=trainer, references=references, checked=checked, notes=notes)


def load_initial(job: TrainJob) -> tuple[PreTrainedModel, str]:
    """Load what a job trains, with a note on where its weights are from; see `initial`."""
    classifier = isinstance(job.settings, RewardModelSettings)
    load = initial_classifier if classifier else initial_causal_lm
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


def _check_parent(job: TrainJob, model: PreTrainedModel) -> None:
    """Refuse a model that isn't its parent's files: it will speak for them as the reference.

    Raises:
        GuardError: Naming a weight that differs.
    """
    filed = load_causal_lm(Weights(folder=job.parent), device=job.device).state_dict()
    loaded = model.state_dict()
    for name, weight in filed.items():
        if name not in loaded or not weight.equal(loaded[name]):
            raise GuardError(
                "the reference is not the model that training starts from",
                why=f"{name} is not what the files in {job.parent} hold",
                hint="train from saved weights (TrainJob.parent); if they are, please report this",
            )


def _computed_references(
    job: TrainJob,
    trainer: Trainer,
    encoded: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    precision: Precision,
) -> References:
    """Compute every pair's values by the model as it is before training, or read the kept ones."""
    import torch

    assert isinstance(job.settings, DPOSettings)
    backends: Any = torch.backends
    filed = has_weights(job.parent)
    config = job.parent / "config.json"
    identity = {  # all that a log-probability depends on beside the tokens
        "weights": weights_digest(job.parent) if filed else "",
        "config": hashlib.sha256(config.read_bytes()).hexdigest(),
        "precision": precision,
        "device": job.device if job.device == "cpu" else device_name(job.device),
        "cpu": [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
        "kernels": str(backends.mkldnn.matmul.fp32_precision),
        "layout": str(trainer.lean),
        "attention": str(trainer.model.config._attn_implementation),
        "alignstudy": __version__,
        "libraries": {name: version(name) for name in ("torch", "transformers", "trl")},
    }
    reference = Reference(
        log_probs=partial(target_log_probs, trainer),
        identity=json.dumps(identity, sort_keys=True),
        pad_token_id=int(tokenizer.pad_token_id),
        device=job.device,
        rows_at_once=1 if job.device == "cpu" else 16,
    )
    was_training = trainer.model.training
    trainer.model.eval()
    try:
        with adapter_off(trainer.model):  # once: PEFT looks through all layers each time
            return reference_logps(
                reference,
                encoded,
                path=job.references if filed else None,  # drawn weights have no digest
                ld_alpha=job.settings.ld_alpha,
                progress=job.progress,
                should_stop=job.should_stop,
            )
    finally:
        trainer.model.train(was_training)
