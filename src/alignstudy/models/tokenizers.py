"""Tokenizers, as the model's folder gives them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.dialogue import CUE
from alignstudy.errors import (
    AlignstudyError,
    DamagedArtefactError,
    GuardError,
    InputError,
)
from alignstudy.models.folder import NEEDED, clipped, named_faults, read_json
from alignstudy.models.inspection import check_known, inspect_folder
from alignstudy.models.tokenizer_files import inspect_tokenizer
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


MAPPED = (
    "\u00bd\u00bc\u2026\ufb01\ufb03\u2460\u00c5\u2122\u338f\uff12\uff46"
    "\uff8a\u00aa\u00b2\u00a0\u3000\u2009"
)
"""Characters that SentencePiece's usual map (NFKC, with spaces made one) rewrites."""


def load_tokenizer(folder: Path, *, check_rows: bool = True) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer as it is; no token is added, no code of the folder runs.

    Args:
        folder: Of the model.
        check_rows: Whether every token must have an embedding, used or not.

    Raises:
        InputError: If the folder holds no tokenizer, or no `config.json`.
        GuardError: If it asks for code of its own, holds tokens that the model doesn't, or reads
            characters otherwise than its files say.
        DamagedArtefactError: If a file of it can't be read.
    """
    from transformers import AutoTokenizer

    config = inspect_folder(folder)
    check_known(folder, config)
    inspect_tokenizer(folder)
    # Half a BPE tokenizer, without merges, would split into letters, silently.
    files = [folder / name for name in ("vocab.json", "merges.txt")]
    held = [file.name for file in files if file.is_file() and file.stat().st_size > 0]
    if len(held) == 1 and not (folder / "tokenizer.json").is_file():
        raise InputError(
            f"{folder} holds half a tokenizer",
            why=f"there is only {held[0]} (or the other is empty)",
            hint=NEEDED,
        )
    with _read_as_a_tokenizer(folder):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    if len(tokenizer) <= len(tokenizer.get_added_vocab()):
        raise InputError(
            f"{folder} holds no tokenizer", why="no vocabulary file was found", hint=NEEDED
        )
    size = config.get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if check_rows and isinstance(size, int) and largest >= size:
        raise GuardError(
            f"the tokenizer in {folder} has token ids up to {largest}, its model only {size} rows",
            why="a token without an embedding can't be read",
            hint="use the tokenizer that belongs to the model; check special_tokens_map.json",
        )
    with _read_as_a_tokenizer(folder):
        _keep_character_map(tokenizer, folder)
    return tokenizer


@contextmanager
def _read_as_a_tokenizer(folder: Path) -> Iterator[None]:
    """Turn whatever reading a tokenizer raises into the project's errors.

    Raises:
        DamagedArtefactError: Of what has no better name.
    """
    try:
        with named_faults(folder), named_panics():
            yield
    except AlignstudyError:
        raise
    except Exception as error:  # tokenizers' readers raise nothing narrower
        raise DamagedArtefactError(
            f"the tokenizer in {folder} can't be read",
            why=clipped(error),
            hint="fetch or write the model folder again",
        ) from error


@contextmanager
def named_panics() -> Iterator[None]:
    """Name what tokenizers raise where they give up: it is no `Exception`, and has no class.

    Raises:
        InputError: If an expression by which texts are split takes too long, or a table is wrong.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(
            "the tokenizer gives up on a text",
            why=clipped(error),
            hint="use the tokenizer of the model's owner; see the rules in its tokenizer.json",
        ) from error


def _keep_character_map(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Map characters as the folder's files say, also where the tokenizer's class forgets to.

    Several classes of transformers 5 (DeBERTa's among them) build themselves from the vocabulary
    alone and drop the map that SentencePiece applies before it splits: "½" is then unknown.

    Raises:
        GuardError: If some character is still split otherwise than by the files.
    """
    from tokenizers import normalizers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or "Precompiled" in repr(backend.normalizer):
        return
    found = _character_map(folder)
    if found is None:
        return
    own, reference = found
    forgetful = backend.normalizer
    backend.normalizer = normalizers.Sequence([own, *([forgetful] if forgetful else [])])
    texts = [f"one{character}two" for character in MAPPED]
    apart = [text for text in texts if tokenizer.tokenize(text) != reference(text)]
    if apart:
        raise GuardError(
            f"the tokenizer in {folder} splits '{apart[0]}' into {tokenizer.tokenize(apart[0])},"
            f" its files into {reference(apart[0])}",
            why=f"transformers builds {type(tokenizer).__name__} without what its files say",
            hint="save the tokenizer as tokenizer.json, and name its class in tokenizer_config.json"
            ' as "PreTrainedTokenizerFast": it is then read as it is',
        )


def _character_map(folder: Path) -> tuple[Any, Callable[[str], list[str]]] | None:
    """Find the map of characters in a folder's files, and what splits a text by those files."""
    from tokenizers import Tokenizer, normalizers

    if (file := folder / "tokenizer.json").is_file():
        steps = read_json(file).get("normalizer") or {}
        for step in steps.get("normalizers", [steps]):
            if step.get("type") == "Precompiled" and step.get("precompiled_charsmap"):
                read = Tokenizer.from_file(str(file)).encode
                own = normalizers.Precompiled(base64.b64decode(step["precompiled_charsmap"]))
                return own, lambda text, read=read: read(text, add_special_tokens=False).tokens
        return None
    files = [file for file in sorted(folder.glob("*.model")) if file.stat().st_size]
    if not files:
        return None
    from google.protobuf.message import DecodeError
    from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(files[0].read_bytes())
    except DecodeError:  # tiktoken's files end in .model, too
        return None
    if not (charsmap := proto.normalizer_spec.precompiled_charsmap):
        return None
    processor = SentencePieceProcessor(model_file=str(files[0]))
    return normalizers.Precompiled(charsmap), partial(processor.encode, out_type=str)


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
