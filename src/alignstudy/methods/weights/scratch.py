"""Folders for models from scratch: a configuration and a tokenizer, no weights yet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from alignstudy.errors import DataError
from alignstudy.methods.weights.save import copy_tokenizer
from alignstudy.settings import Settings


class ArchitectureSettings(Settings):
    """A small architecture to train from scratch; names as in OPT's and DeBERTa-v2's configs."""

    model_type: Literal["opt", "deberta-v2"] = Field(
        default="opt", description="opt: a language model; deberta-v2: a judge with one output"
    )
    hidden_size: int = Field(default=128, ge=8, description="width of the layers")
    num_hidden_layers: int = Field(default=4, ge=1, description="number of layers")
    num_attention_heads: int = Field(default=4, ge=1, description="heads a layer")
    ffn_dim: int = Field(default=512, ge=8, description="width inside a layer's feed-forward")
    word_embed_proj_dim: int | None = Field(
        default=None, ge=8, description="opt: width of token embeddings; null: hidden_size"
    )
    do_layer_norm_before: bool | None = Field(
        default=None, description="opt: false puts layer norms after, as in OPT-350M; null: true"
    )
    max_position_embeddings: int = Field(default=512, ge=8, description="context in tokens")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout probability")

    @model_validator(mode="after")
    def _shape_is_possible(self) -> ArchitectureSettings:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        if self.model_type != "opt":
            for name in ("word_embed_proj_dim", "do_layer_norm_before"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no meaning in {self.model_type}; leave it out")
        return self


class TokenizerSettings(Settings):
    """A byte-level BPE tokenizer, trained on the study's own texts."""

    vocab_size: int = Field(
        default=2048, ge=300, description="tokens at most, special ones and 256 bytes included"
    )
    min_frequency: int = Field(default=2, ge=1, description="a merge must be seen so often")


def build_scratch_model_folder(
    architecture: ArchitectureSettings,
    out: Path,
    *,
    tokenizer: TokenizerSettings | Path,
    texts: Iterable[str] = (),
) -> None:
    """Write config.json and tokenizer files into an existing folder; weights come with training.

    The same texts give the same files. OPT's special tokens are those of the hub's models:
    `</s>` begins and ends a text, `<pad>` pads. DeBERTa's are [CLS] prompt [SEP] response [SEP].

    Args:
        architecture: The model's shape.
        out: Empty existing folder to fill.
        tokenizer: How to train one on `texts`, or a folder to copy it from.
        texts: What a new tokenizer is trained on.

    Raises:
        DataError: If a tokenizer is to be trained and there is no text.
    """
    from transformers import AutoTokenizer

    if isinstance(tokenizer, Path):
        copy_tokenizer(tokenizer, out)
    else:
        _save_new_tokenizer(texts, tokenizer, architecture, out)
    saved = AutoTokenizer.from_pretrained(out, local_files_only=True)
    values = _configuration(architecture, saved)
    (out / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


_SPECIAL_TOKENS = {
    "opt": ["<s>", "<pad>", "</s>", "<unk>"],
    "deberta-v2": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
}
"""By architecture, in the order of their ids."""

_ROLES = {
    "opt": {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
    "deberta-v2": {
        "bos_token": "[CLS]",
        "cls_token": "[CLS]",
        "eos_token": "[SEP]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    },
}


def _save_new_tokenizer(
    texts: Iterable[str],
    settings: TokenizerSettings,
    architecture: ArchitectureSettings,
    out: Path,
) -> None:
    """Train a byte-level BPE tokenizer with an architecture's special tokens, and save it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    texts, kind = list(texts), architecture.model_type
    if not texts:
        raise DataError("a tokenizer is to be trained, and there is no text to train it on")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=_SPECIAL_TOKENS[kind],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
    if kind == "opt":
        single, pair = "</s> $A", "</s> $A $B"
    around = [token for token in _SPECIAL_TOKENS[kind] if token in single]
    tokenizer.post_processor = TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in around],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **_ROLES[kind],
        model_max_length=architecture.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)


def _configuration(architecture: ArchitectureSettings, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what config.json holds; its bytes are part of what training depends on."""
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": architecture.hidden_size,
        "num_hidden_layers": architecture.num_hidden_layers,
        "num_attention_heads": architecture.num_attention_heads,
    }
    if architecture.model_type == "opt":
        before = architecture.do_layer_norm_before
        return {
            "model_type": "opt",
            "architectures": ["OPTForCausalLM"],
            **shape,
            "ffn_dim": architecture.ffn_dim,
            "word_embed_proj_dim": architecture.word_embed_proj_dim or architecture.hidden_size,
            "do_layer_norm_before": before is None or before,
            "max_position_embeddings": architecture.max_position_embeddings,
            "dropout": architecture.dropout,
            "attention_dropout": architecture.dropout,
            "activation_dropout": 0.0,
            "layerdrop": 0.0,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
    return {
        "model_type": "deberta-v2",
        "architectures": ["DebertaV2ForSequenceClassification"],
        "id2label": {"0": "score"},
        "label2id": {"score": 0},
        **shape,
        "intermediate_size": architecture.ffn_dim,
        "max_position_embeddings": architecture.max_position_embeddings,
        "hidden_dropout_prob": architecture.dropout,
        "attention_probs_dropout_prob": architecture.dropout,
        "pooler_dropout": 0.0,
        "pooler_hidden_size": architecture.hidden_size,
        "relative_attention": True,
        "position_buckets": min(256, architecture.max_position_embeddings),
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
