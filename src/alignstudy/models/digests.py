"""Hashes of weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alignstudy.models.weight_files import weight_files
from alignstudy.sources import sha256_of


def weights_digest(folder: Path) -> str:
    """Hash a folder's weight files by name and content; configuration and tokenizer don't count.

    Raises:
        InputError: If the folder holds no weights.
    """
    whole = hashlib.sha256()
    for file in weight_files(folder):
        whole.update(f"{file.name}\0{sha256_of(file)}\n".encode())
    return whole.hexdigest()
