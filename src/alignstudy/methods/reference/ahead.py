"""The reference's log-probabilities, asked for before the first step and put into the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.guards.checks import references_are_fresh
from alignstudy.methods.guards.precision import Precision
from alignstudy.methods.guards.probes import PROBE_ROWS
from alignstudy.methods.reference.cache import CHUNK, Reference, References, reference_logps
from alignstudy.methods.scoring.reading import adapter_off, response_sums
from alignstudy.methods.trainer import Trainer
from alignstudy.methods.weights.initial import has_weights, initial_causal_lm
from alignstudy.models.digests import weights_digest
from alignstudy.models.tokenizers import padding_id
from alignstudy.records import GuardOutcome
from alignstudy.runtime.device import device_name
from alignstudy.version import __version__, library_version

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def reference_model(job: TrainJob, trainer: Trainer) -> PreTrainedModel:
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


def add_references(
    job: TrainJob,
    trainer: Trainer,
    encoded: Encoded,
    numbers: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    precision: Precision,
) -> tuple[References, tuple[GuardOutcome, ...]]:
    """Compute the values of the pairs that updates will see, or read the kept ones, into the rows.

    The others have none (not a number), so that nothing could be learnt from them unseen.

    Args:
        job: The training's.
        trainer: As built.
        encoded: Its rows.
        numbers: Of those that updates will see.
        tokenizer: The parent's.
        precision: Of training.

    Returns:
        The values, and what was measured of them: nothing yet where the reference is the model that
        training starts from, which is asked anew before the first step.

    Raises:
        GuardError: If kept values are not those that another reference gives.
    """
    branches = trainer.method.branches
    model: Any = trainer.model
    if job.reference is not None:
        model = reference_model(job, trainer)
    references = _computed(
        job, trainer, model, encoded.rows(numbers), branches, padding_id(tokenizer), precision
    )
    for branch, values in references.sums.items():
        column = [float("nan")] * len(encoded.row_ids)
        for number, value in zip(numbers, values, strict=True):
            column[number] = value
        trainer.train_dataset = trainer.train_dataset.add_column(f"ref_{branch}_logps", column)
    if job.reference is None:
        return references, ()
    apart = _difference(trainer, model, numbers[:PROBE_ROWS])
    return references, (references_are_fresh(apart, precision=precision),)


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
    on_cpu = job.device == "cpu"
    # Many rows at once are padded, not joined: a mask over all would cost their square.
    flat = on_cpu and trainer.route is not None and trainer.route.flat
    route = None if trainer.route is None else replace(trainer.route, flat=flat)
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
        "route": str(route),
        "attention": str(trainer.model.config._attn_implementation),
        "alignstudy": __version__,
        "libraries": {name: library_version(name) for name in ("torch", "transformers", "trl")},
    }

    def log_probs(batch: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad(), trainer.autocast(), trainer.by_route(flat=flat):
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
