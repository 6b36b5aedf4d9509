"""A trainer put together: its model loaded, the reference's part done, its precision settled."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alignstudy.errors import InputError
from alignstudy.methods import method_of
from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.guards.checks import references_are_fresh
from alignstudy.methods.guards.precision import Precision, pick_precision, precision_gate
from alignstudy.methods.guards.probes import PROBE_ROWS
from alignstudy.methods.loop.arguments import check_target_modules
from alignstudy.methods.reference.cache import CHUNK, Reference, References, reference_logps
from alignstudy.methods.scoring.reading import adapter_off, response_sums
from alignstudy.methods.trainer import Trainer
from alignstudy.methods.weights.initial import (
    check_is_filed,
    has_weights,
    initial_causal_lm,
    initial_classifier,
    is_noisy,
)
from alignstudy.models.digests import weights_digest
from alignstudy.models.tokenizers import padding_id
from alignstudy.progress import SILENT
from alignstudy.records import GuardOutcome
from alignstudy.runtime.device import context_length, device_name
from alignstudy.version import __version__, library_version

if TYPE_CHECKING:
    from torch import Tensor
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
    """Decide on the precision; a mixed one must prove itself on the first rows.

    Raises:
        GuardError: If it was asked for by name, and its losses leave float32's.
        InputError: If fp16 is asked for on a CPU.
    """
    import torch

    wanted = pick_precision(job.settings.precision, job.device)
    if wanted == "fp32":
        return wanted, None
    first = encoded.rows(range(min(PROBE_ROWS, len(encoded.row_ids))))
    settings = job.settings.for_one_update(len(first.row_ids))
    probe = replace(job, settings=settings, references=None, progress=SILENT)
    trainer = assemble(probe, first, tokenizer, precision="fp32").trainer
    outcome = precision_gate(trainer, job.settings.precision)
    del trainer
    gc.collect()  # its parts know each other: they would hold the memory that training wants
    if job.device != "cpu":
        torch.cuda.empty_cache()
    return (wanted if outcome.passed else "fp32"), outcome


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
    from alignstudy.methods.scoring.layout_check import packed_head, settle_route

    set_seed(job.seed)
    model, note = load_initial(job)
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
        trainer.reference = _reference_model(job, trainer)
    notes: tuple[str, ...] = (note,) if note else ()
    checked: tuple[GuardOutcome, ...] = ()
    if trainer.route is not None:
        checked, why = settle_route(trainer, encoded.lengths, precision=precision)
        notes += why
    if trainer.method.packs:
        checked += (packed_head(trainer, precision=precision),)
    references = None
    if ahead:
        references, fresh = _add_references(job, trainer, encoded, tokenizer, precision)
        checked += (fresh,)
    return Assembled(trainer=trainer, references=references, checked=checked, notes=notes)


def load_initial(job: TrainJob) -> tuple[PreTrainedModel, str]:
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


def _reference_model(job: TrainJob, trainer: Trainer) -> PreTrainedModel:
    """Load a second model, without noise, that never learns: the reference.

    Weights that its folder doesn't hold are drawn as the trained model's were; where that is held
    in 4 bits, it is, too: what rounding does to both isn't part of their log-ratio.
    """
    from transformers import set_seed

    from alignstudy.methods.loop import trl_adapter as _trl

    set_seed(job.seed)
    folder, in_4bit = job.reference or job.parent, job.settings.in_4bit
    model, _ = initial_causal_lm(folder, device=job.device, dropout="off", in_4bit=in_4bit)
    return _trl.reference_model(trainer, model)


def _add_references(
    job: TrainJob,
    trainer: Trainer,
    encoded: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    precision: Precision,
) -> tuple[References, GuardOutcome]:
    """Compute the values of the pairs that updates will see, or read the kept ones, into the rows.

    The others have none (not a number), so that nothing could be learnt from them unseen.

    Raises:
        GuardError: If kept values are not those that the reference gives.
    """
    from alignstudy.methods.loop import trl_adapter as _trl

    branches, seen = trainer.method.branches, _trl.rows_seen(trainer)
    numbers = range(len(encoded.row_ids)) if seen is None else sorted(set(seen))
    model: Any = trainer.model
    if job.reference is not None:
        model = _reference_model(job, trainer)
    references = _computed(
        job, trainer, model, encoded.rows(numbers), branches, padding_id(tokenizer), precision
    )
    for branch, values in references.sums.items():
        column = [float("nan")] * len(encoded.row_ids)
        for number, value in zip(numbers, values, strict=True):
            column[number] = value
        trainer.train_dataset = trainer.train_dataset.add_column(f"ref_{branch}_logps", column)
    apart = _difference(trainer, model, numbers[:PROBE_ROWS])
    return references, references_are_fresh(apart, precision=precision)


def _difference(trainer: Trainer, model: Any, numbers: Sequence[int]) -> float:  # noqa: ANN401
    """Return the largest difference of kept sums from computed ones, relative (to at least 1)."""
    import torch

    batch = trainer.prepare(trainer.data_collator([trainer.train_dataset[n] for n in numbers]))
    each = len(numbers)
    was_training = model.training
    model.eval()
    with torch.no_grad(), trainer.autocast(), adapter_off(model):
        found = trainer.log_probs(model, batch).float()
    model.train(was_training)
    compared = {name: value[: 2 * each] for name, value in batch.items() if value.dim() == 2}
    alpha = getattr(trainer.method.settings, "ld_alpha", None)
    live = response_sums(found[: 2 * each], compared, alpha)
    live = torch.cat([live, found[2 * each :].sum(1)])
    kept = torch.cat([batch[f"ref_{branch}_logps"] for branch in trainer.method.branches])
    return float(((live - kept).abs() / kept.abs().clamp_min(1)).max())


def _computed(
    job: TrainJob,
    trainer: Trainer,
    model: Any,  # noqa: ANN401
    encoded: Encoded,
    branches: Sequence[str],
    pad_token_id: int,
    precision: Precision,
) -> References:
    """Compute every pair's values by the model as it is before training, or read the kept ones."""
    import torch

    backends: Any = torch.backends
    folder = job.reference or job.parent
    filed = has_weights(folder)
    config = folder / "config.json"
    identity = {  # all that a log-probability depends on beside the tokens
        "weights": weights_digest(folder) if filed else "",
        "config": hashlib.sha256(config.read_bytes()).hexdigest(),
        "precision": precision,
        "in_4bit": library_version("bitsandbytes") if job.settings.in_4bit else "",
        "device": job.device if job.device == "cpu" else device_name(job.device),
        "cpu": [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
        "kernels": str(backends.mkldnn.matmul.fp32_precision),
        "route": str(trainer.route),
        "attention": str(trainer.model.config._attn_implementation),
        "alignstudy": __version__,
        "libraries": {name: library_version(name) for name in ("torch", "transformers", "trl")},
    }

    on_cpu = job.device == "cpu"

    def log_probs(batch: Mapping[str, Tensor]) -> Tensor:
        # Many rows at once are padded, not joined: a mask over all would cost their square.
        with torch.no_grad(), trainer.autocast(), trainer.by_route(flat=on_cpu):
            return trainer.log_probs(model, batch).float()

    reference = Reference(
        log_probs=log_probs,
        identity=json.dumps(identity, sort_keys=True),
        pad_token_id=pad_token_id,
        device=job.device,
        rows_at_once=1 if on_cpu else CHUNK,
    )
    was_training = model.training
    model.eval()
    try:
        with adapter_off(model):  # once: PEFT looks through all layers each time
            return reference_logps(
                reference,
                encoded,
                branches,
                path=job.references if filed else None,  # drawn weights have no digest
                ld_alpha=getattr(job.settings, "ld_alpha", None),
                progress=job.progress,
                should_stop=job.should_stop,
            )
    finally:
        model.train(was_training)
