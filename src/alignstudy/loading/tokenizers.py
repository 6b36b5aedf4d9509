"""Tokenizers, as the model's folder gives them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.errors import GuardError
from alignstudy.loading.folder import check_no_code, named_faults, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer as it is; no token is added, no code of the folder runs.

    Raises:
        InputError: If the folder holds no tokenizer, or no `config.json`.
        GuardError: If it asks for code of its own, or holds tokens that the model doesn't.
    """
    from transformers import AutoTokenizer

    check_no_code(folder)
    with named_faults(folder):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    size = read_json(folder / "config.json").get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if isinstance(size, int) and largest >= size:
        raise GuardError(
            f"the tokenizer in {folder} has token ids up to {largest}, its model only {size} rows",
            why="a token without an embedding can't be read",
            mend="use the tokenizer that belongs to the model; check special_tokens_map.json",
        )
    return tokenizer
