"""Folders for models from scratch: a configuration and a tokenizer, no weights yet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from alignstudy.errors import DataError
from alignstudy.methods.weights.save import copy_tokenizer
from alignstudy.settings import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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
    if isinstance(tokenizer, Path):
        copy_tokenizer(tokenizer, out)
    elif architecture.model_type == "opt":
        _save_opt_tokenizer(_train_bpe(texts, tokenizer, _OPT_TOKENS), architecture, out)
    else:
        _save_deberta_tokenizer(_train_bpe(texts, tokenizer, _DEBERTA_TOKENS), architecture, out)
    config = _opt_config if architecture.model_type == "opt" else _deberta_config
    values = config(architecture, _loaded_tokenizer(out))
    (out / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


_OPT_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
_DEBERTA_TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]


def _train_bpe(texts: Iterable[str], settings: TokenizerSettings, special: list[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = list(texts)
    if not texts:
        raise DataError("a tokenizer is to be trained, and there is no text to train it on")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _save_opt_tokenizer(
    tokenizer: Tokenizer, architecture: ArchitectureSettings, out: Path
) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    end = ("</s>", tokenizer.token_to_id("</s>"))
    tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", pair="</s> $A $B", special_tokens=[end]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=architecture.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)


def _save_deberta_tokenizer(
    tokenizer: Tokenizer, architecture: ArchitectureSettings, out: Path
) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="[CLS]",
        cls_token="[CLS]",
        eos_token="[SEP]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_max_length=architecture.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)


def _loaded_tokenizer(folder: Path) -> Any:  # noqa: ANN401
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _opt_config(architecture: ArchitectureSettings, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401
    before = architecture.do_layer_norm_before
    return {
        "model_type": "opt",
        "architectures": ["OPTForCausalLM"],
        "vocab_size": len(tokenizer),
        "hidden_size": architecture.hidden_size,
        "num_hidden_layers": architecture.num_hidden_layers,
        "num_attention_heads": architecture.num_attention_heads,
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


def _deberta_config(architecture: ArchitectureSettings, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "model_type": "deberta-v2",
        "architectures": ["DebertaV2ForSequenceClassification"],
        "id2label": {"0": "score"},
        "label2id": {"score": 0},
        "vocab_size": len(tokenizer),
        "hidden_size": architecture.hidden_size,
        "num_hidden_layers": architecture.num_hidden_layers,
        "num_attention_heads": architecture.num_attention_heads,
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
