"""Hashes of weights, on disk and in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.models.folder import weight_files
from alignstudy.sources import sha256_of

if TYPE_CHECKING:
    import torch


def weights_digest(folder: Path) -> str:
    """Hash a folder's weight files by name and content; configuration and tokenizer don't count.

    Raises:
        InputError: If the folder holds no weights.
    """
    whole = hashlib.sha256()
    for file in weight_files(folder):
        whole.update(f"{file.name}\0{sha256_of(file)}\n".encode())
    return whole.hexdigest()


def parameter_digest(model: torch.nn.Module) -> str:
    """Hash a model's tensors in memory, sorted by name: dtype, shape and bytes of each."""
    import torch

    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        whole.update(f"{name}\0{values.dtype}\0{tuple(values.shape)}\n".encode())
        whole.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()
