"""Tokenizers split characters as their own files say: SentencePiece is the reference."""

import json
import os
from pathlib import Path

import pytest
from models_fixtures import CORPUS, write_spm_tokenizer
from sentencepiece import SentencePieceProcessor

from alignstudy.errors import GuardError
from alignstudy.models import tokenizers
from alignstudy.models.tokenizers import load_tokenizer

TEXTS = [
    "Add \u00bd cup of milk\u2026 and stir.", "A \uff46\uff55\uff4c\uff4c\uff0dwidth word",
    "no\u00a0break and\u3000wide", "\u2460 \ufb01rst, x\u00b2", "line\nbreak\n\n  and  spaces",
    "An \u212bngstr\u00f6m (\u212b), \u338f and \u2122",
]  # fmt: skip
PUBLISHED = Path(os.environ.get("ALIGNSTUDY_PAPER_DIR", "../shared/data/paper")) / "responses"


@pytest.fixture
def deberta(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    write_spm_tokenizer(tmp_path, texts=[*CORPUS, "1 2 3 fraction ... TM kg"], vocab_size=300)
    return tmp_path


def ids_of_sentencepiece(folder, text):
    return SentencePieceProcessor(model_file=str(folder / "spm.model")).encode(text.strip())


def ids_of_ours(tokenizer, text):
    return tokenizer(text.strip(), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_sentencepieces_own(deberta, text):
    expected = ids_of_sentencepiece(deberta, text)
    assert ids_of_ours(load_tokenizer(deberta), text) == expected


def test_the_map_outlives_saving(deberta, tmp_path):
    saved = tmp_path / "saved"
    load_tokenizer(deberta).save_pretrained(saved)
    (saved / "config.json").write_text((deberta / "config.json").read_text())
    assert not (saved / "spm.model").exists()
    again = load_tokenizer(saved)
    for text in TEXTS:
        assert ids_of_ours(again, text) == ids_of_sentencepiece(deberta, text), text


def test_published_responses_are_split_as_sentencepiece_splits_them(deberta):
    if not PUBLISHED.is_dir():
        pytest.skip("the published responses are not here: set ALIGNSTUDY_PAPER_DIR")
    tokenizer = load_tokenizer(deberta)
    texts = [
        row[key]
        for file in sorted(PUBLISHED.glob("*.json"))
        for row in json.loads(file.read_text())
        for key in ("prompt", "response")
    ]
    assert len(texts) == 800
    for text in texts:
        assert ids_of_ours(tokenizer, text) == ids_of_sentencepiece(deberta, text), text


def test_a_difference_that_stays_is_refused(deberta, monkeypatch):
    monkeypatch.setattr(
        tokenizers, "_character_map", lambda folder: (tokenizers_identity(), lambda text: ["?"])
    )
    with pytest.raises(GuardError, match="its files into") as refused:
        load_tokenizer(deberta)
    assert "PreTrainedTokenizerFast" in refused.value.hint


def tokenizers_identity():
    from tokenizers import normalizers

    return normalizers.NFC()


def test_a_tiktoken_file_has_no_map(deberta):
    (deberta / "spm.model").unlink()
    (deberta / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert tokenizers._character_map(deberta) is None
