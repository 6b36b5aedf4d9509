"""Folders for models from scratch."""

import json

import methods_fixtures as fx
import pytest

from alignstudy.errors import DataError
from alignstudy.methods.weights.scratch import (
    ArchitectureSettings,
    TokenizerSettings,
    build_scratch_model_folder,
)
from alignstudy.models.tokenizers import load_tokenizer


def test_an_opt_folder_has_the_hubs_special_tokens_and_reads_any_text(tmp_path):
    folder = fx.write_scratch(tmp_path / "opt")
    tokenizer = load_tokenizer(folder)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.convert_tokens_to_ids(special) == [0, 1, 2, 3]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 2, 1)
    for text in ("  spaces, \n\nHuman: tags", "unseen: \u00e9\u4e2d\U0001f600", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == 2
        assert 2 not in ids[1:]
        assert tokenizer.decode(ids[1:]) == text
    assert tokenizer("a</s>")["input_ids"][-1] == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer) <= 340
    assert config["word_embed_proj_dim"] == 16
    assert config["do_layer_norm_before"] is False
    assert not list(folder.glob("*.safetensors"))


def test_a_judge_folder_reads_pairs_as_deberta_does(tmp_path):
    folder = fx.write_scratch(tmp_path / "judge", "deberta-v2")
    tokenizer = load_tokenizer(folder)
    ids = tokenizer("How?", "So.")["input_ids"]
    assert tokenizer.decode(ids) == "[CLS]How?[SEP]So.[SEP]"
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "score"}
    assert config["architectures"] == ["DebertaV2ForSequenceClassification"]


@pytest.mark.parametrize("model_type", ["opt", "deberta-v2"])
def test_the_same_texts_give_the_same_files(model_type, tmp_path):
    one = fx.write_scratch(tmp_path / "one", model_type)
    two = fx.write_scratch(tmp_path / "two", model_type)
    assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name


def test_a_tokenizer_may_be_taken_from_another_folder(tmp_path):
    donor = fx.write_scratch(tmp_path / "donor")
    (tmp_path / "taker").mkdir()
    build_scratch_model_folder(
        ArchitectureSettings(hidden_size=16, num_attention_heads=2), tmp_path / "taker",
        tokenizer=donor,
    )  # fmt: skip
    text = fx.TEXTS[0]
    taken = load_tokenizer(tmp_path / "taker")
    assert taken(text)["input_ids"] == load_tokenizer(donor)(text)["input_ids"]


def test_a_tokenizer_needs_text(tmp_path):
    with pytest.raises(DataError, match="no text to train it on"):
        build_scratch_model_folder(
            ArchitectureSettings(), tmp_path, tokenizer=TokenizerSettings(), texts=()
        )
