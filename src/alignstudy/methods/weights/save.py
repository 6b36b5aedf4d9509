"""A trained model into its folder, in Hugging Face layout, the parent's tokenizer beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.methods.base import TrainJob
from alignstudy.methods.weights.initial import dropout_names
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import ADAPTER_RECORD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENIZER_FILES = (
    "tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "spm.model", "*.spm", "sentencepiece*", "chat_template*",
)  # fmt: skip


def save_trained(model: PreTrainedModel, job: TrainJob) -> None:
    """Save weights, or the adapter with a record of the weights it belongs to."""
    if job.settings.lora is None:
        _restore_dropout(model, job.parent)
        model.save_pretrained(job.out)
    else:
        _save_adapter(model, job)
    copy_tokenizer(job.parent, job.out)


def copy_tokenizer(parent: Path, out: Path) -> None:
    """Copy the parent's tokenizer files as they are: saving anew could change what they mean."""
    for pattern in TOKENIZER_FILES:
        for file in parent.glob(pattern):
            shutil.copyfile(file, out / file.name)


def _save_adapter(model: PreTrainedModel, job: TrainJob) -> None:
    """Save an adapter; no machine's paths go into it, so that equal runs give equal files."""
    model.peft_config["default"].base_model_name_or_path = job.parent.name
    model.save_pretrained(job.out, save_embedding_layers=False)
    (job.out / "README.md").unlink(missing_ok=True)
    record = {"base": job.parent.name, "base_weights_sha256": weights_digest(job.parent)}
    (job.out / ADAPTER_RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _restore_dropout(model: PreTrainedModel, parent: Path) -> None:
    """Put the parent's dropout back into the configuration: off was meant for this training."""
    config = json.loads((parent / "config.json").read_text(encoding="utf-8"))
    for name in dropout_names(config):
        setattr(model.config, name, config[name])
