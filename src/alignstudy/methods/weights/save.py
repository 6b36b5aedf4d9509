"""Models into folders, in Hugging Face layout, tokenizers beside them: as trained, or merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import InputError
from alignstudy.methods import method_of
from alignstudy.methods.base import TrainJob
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards.checks import merge_is_faithful
from alignstudy.methods.guards.probes import logits_difference
from alignstudy.methods.weights.initial import dropout_names
from alignstudy.models.adapters import apply_adapter, is_of_4bit_base
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import ADAPTER_CONFIG, ADAPTER_RECORD
from alignstudy.models.load import load_causal_lm
from alignstudy.models.quantized import LOAD_IN_4BIT, dequantize_into
from alignstudy.models.templates import Template
from alignstudy.records import GuardOutcome, Weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

TOKENIZER_FILES = (
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spm.model",
    "*.spm",
    "sentencepiece*",
    "chat_template*",
)


def save_trained(model: PreTrainedModel, job: TrainJob, template: Template) -> None:
    """Save weights, or the adapter with a record of the weights it belongs to.

    A language model's tokenizer is saved with the template that it was trained with.

    No machine's paths go into an adapter, so that equal runs give equal files.
    """
    if job.settings.lora is None:
        # The parent's dropout goes back into the configuration: off was meant for this training.
        config = json.loads((job.parent / "config.json").read_text(encoding="utf-8"))
        for name in dropout_names(config):
            setattr(model.config, name, config[name])
        model.save_pretrained(job.out)
    else:
        model.peft_config["default"].base_model_name_or_path = job.parent.name
        model.save_pretrained(job.out, save_embedding_layers=False)
        (job.out / "README.md").unlink(missing_ok=True)
        _sort_targets(job.out / ADAPTER_CONFIG)
        digest = weights_digest(job.parent)
        record: dict[str, Any] = {"base": job.parent.name, "base_weights_sha256": digest}
        record |= {LOAD_IN_4BIT: True} if job.settings.in_4bit else {}
        text = json.dumps(record, indent=1) + "\n"
        (job.out / ADAPTER_RECORD).write_text(text, encoding="utf-8")
    copy_tokenizer(job.parent, job.out)
    jinja = template.to_save()
    if jinja is not None and method_of(job.settings).writes_prompts:
        for path in job.out.glob("chat_template*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (job.out / "chat_template.jinja").write_text(jinja, encoding="utf-8")


def _sort_targets(config: Path) -> None:
    """Put an adapter's layers in the order of names: PEFT has them as a set, in no order."""
    values = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(values["target_modules"], list):
        values["target_modules"].sort()
    config.write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")


def copy_tokenizer(parent: Path, out: Path) -> None:
    """Copy the parent's tokenizer files as they are: saving again could change what they mean."""
    for pattern in TOKENIZER_FILES:
        for file in parent.glob(pattern):
            shutil.copyfile(file, out / file.name)


def merge_adapter(weights: Weights, out: Path, *, factor: float = 1.0) -> GuardOutcome:
    """Merge an adapter into its base in float32 and save full weights, tokenizer included.

    A base that was held in 4 bits is merged as that: with the values that were computed with, not
    with its files'.

    Args:
        weights: An adapter with its base.
        out: Empty existing folder to fill.
        factor: What the adapter's change is multiplied by: 1 + alpha extrapolates it exactly, with
            no rounding of the merged weights before.

    Raises:
        InputError: If the weights are no adapter.
        GuardError: If the adapter belongs to another base, or merging changes what is computed.
    """
    import torch

    if weights.base is None:
        raise InputError(f"{weights.folder} is no adapter: there is nothing to merge")
    with quiet_libraries(), torch.no_grad():
        adapted = load_causal_lm(weights)
        _scale(adapted, factor)
        tokens = probe_tokens(adapted.config.vocab_size)
        before = adapted(input_ids=tokens).logits
        if is_of_4bit_base(weights.folder):
            full = load_causal_lm(Weights(folder=weights.base))
            dequantize_into(full, adapted.get_base_model())
            adapted = apply_adapter(full, weights.folder)
            _scale(adapted, factor)
        merged = adapted.merge_and_unload(safe_merge=True)
        outcome = merge_is_faithful(logits_difference(merged(input_ids=tokens).logits, before))
        merged.save_pretrained(out)
    copy_tokenizer(weights.base, out)
    copy_tokenizer(weights.folder, out)  # with the template that was trained with
    return outcome


def _scale(adapted: PreTrainedModel, factor: float) -> None:
    """Multiply an adapter's change."""
    from peft.tuners.lora import LoraLayer

    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(factor)


def probe_tokens(vocab_size: int) -> Tensor:
    """Return 32 tokens from all over a vocabulary, shape (1, 32): what guards ask a model."""
    import torch

    return torch.linspace(0, vocab_size - 1, 32).long()[None]
