"""Tokenizers, as the model's folder gives them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.dialogue import CUE
from alignstudy.errors import (
    AlignstudyError,
    DamagedArtefactError,
    GuardError,
    InputError,
    first_line,
)
from alignstudy.models.folder import NEEDED, check_no_code, named_faults, read_json
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: Path, *, check_rows: bool = True) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer as it is; no token is added, no code of the folder runs.

    Args:
        folder: Of the model.
        check_rows: Whether every token must have an embedding, used or not.

    Raises:
        InputError: If the folder holds no tokenizer, or no `config.json`.
        GuardError: If it asks for code of its own, or holds tokens that the model doesn't.
        DamagedArtefactError: If a file of it can't be read.
    """
    from transformers import AutoTokenizer

    check_no_code(folder)
    # Half a BPE tokenizer, without merges, would split into letters, silently.
    files = [folder / name for name in ("vocab.json", "merges.txt")]
    held = [file.name for file in files if file.is_file() and file.stat().st_size > 0]
    if len(held) == 1 and not (folder / "tokenizer.json").is_file():
        raise InputError(
            f"{folder} holds half a tokenizer",
            why=f"there is only {held[0]} (or the other is empty)",
            hint=NEEDED,
        )
    try:
        with named_faults(folder):
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
    except AlignstudyError:
        raise
    except Exception as error:  # tokenizers' readers raise nothing narrower
        raise DamagedArtefactError(
            f"the tokenizer in {folder} can't be read",
            why=first_line(error),
            hint="fetch or write the model folder again",
        ) from error
    if len(tokenizer) <= len(tokenizer.get_added_vocab()):
        raise InputError(
            f"{folder} holds no tokenizer", why="no vocabulary file was found", hint=NEEDED
        )
    size = read_json(folder / "config.json").get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if check_rows and isinstance(size, int) and largest >= size:
        raise GuardError(
            f"the tokenizer in {folder} has token ids up to {largest}, its model only {size} rows",
            why="a token without an embedding can't be read",
            hint="use the tokenizer that belongs to the model; check special_tokens_map.json",
        )
    return tokenizer


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return what rows are padded with: any token will do, since padding is masked by its place."""
    pad = tokenizer.pad_token_id
    return int(pad if pad is not None else tokenizer.eos_token_id or 0)


def text_stays_open(tokenizer: PreTrainedTokenizerBase) -> GuardOutcome:
    """Refuse a language model's tokenizer that ends every text itself.

    Prompts would be asked after their end, and trained texts would end twice. Classifiers are not
    concerned: what they read is whole.

    Raises:
        GuardError: If a plain text's last token is the end-of-sequence token, or another special
            token that the tokenizer appended.
    """
    plain = f"\n\nHuman: Hello.{CUE}"
    last = tokenizer(plain)["input_ids"][-1]
    bare = tokenizer(plain, add_special_tokens=False)["input_ids"][-1]
    appended = last != bare and last in tokenizer.all_special_ids
    if appended or last == tokenizer.eos_token_id:
        token = tokenizer.convert_ids_to_tokens(last)
        raise GuardError(
            f"the tokenizer ends every text itself, with {token} (id {last})",
            why="the model would be asked to write after the end of a text, and trained on texts"
            " that end twice",
            hint="set add_eos_token: false in the model folder's tokenizer_config.json, or take"
            f" {token} after $A out of the post_processor in its tokenizer.json",
        )
    return GuardOutcome(
        guard="text_stays_open", passed=True, detail="the tokenizer appends no token to a text"
    )


def well_formed(text: str) -> str:
    """Make a text encodable: surrogate pairs are joined, lone ones become U+FFFD, visibly."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
