"""Model folders laid out as the hub's of the published study are, but tiny."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CORPUS = (
    "\n\nHuman: How do I bake bread at home?\n\nAssistant: Mix flour, water, salt and yeast.",
    "\n\nHuman: What is the capital of France?\n\nAssistant: Paris is the capital of France.",
    "\n\nHuman: Tell me how to kill a process.\n\nAssistant: Use the kill command with its number.",
    "\n\nHuman: Can you help me plan a murder mystery party?\n\nAssistant: Of course, I'd love to!",
    "The quick brown fox jumps over the lazy dog, again and again, while it rains.",
    "I'm not sure that I understand; don't you think it's better to ask someone else?",
)
"""A few sentences for tokenizers to be trained on."""

TINY_DEMO = (
    "data.world.num_train=60", "data.world.num_judge=60", "data.world.num_test=40",
    "data.world.num_pretrain=60", "data.train.max_rows=16", "calibration.n=10", "validation.n=10",
    "prompts.harmful.n=3", "prompts.helpful.n=3", "generation.max_new_tokens=4",
    "base.scratch.architecture.hidden_size=16", "base.scratch.architecture.num_hidden_layers=2",
    "base.scratch.architecture.ffn_dim=32", "base.scratch.tokenizer.vocab_size=400",
    "methods.sft.max_steps=2", "methods.dpo.max_steps=2",
)  # fmt: skip
"""Overrides that make the preset `demo` a study of seconds."""


def write_opt_tokenizer(
    folder: Path, *, texts: Iterable[str] = CORPUS, vocab_size: int = 400
) -> int:
    """Write `vocab.json`, `merges.txt` and their configuration, as facebook/opt-350m has them.

    Special tokens: `<s>` 0, `<pad>` 1, `</s>` 2 (begins and ends a text), `<unk>` 3. There is no
    tokenizer.json. Returns the number of tokens.
    """
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        list(texts), vocab_size=vocab_size, min_frequency=1, show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
    )  # fmt: skip
    bpe.save_model(str(folder))
    token = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    named = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    _write_json(
        folder / "special_tokens_map.json",
        {k: v if k == "pad_token" else {"content": v, **token} for k, v in named.items()},
    )
    _write_json(
        folder / "tokenizer_config.json",
        {
            "errors": "replace", "add_prefix_space": False, "add_bos_token": True,
            "special_tokens_map_file": None, "tokenizer_class": "GPT2Tokenizer",
            **{k: {"__type": "AddedToken", "content": v, **token} for k, v in named.items()},
        },
    )  # fmt: skip
    return bpe.get_vocab_size()


def opt_like_config(vocab_size: int, **changes: Any) -> Any:
    """Return a tiny OPT of the 350M's shape: post-LN, embeddings narrower than the hidden size."""
    from transformers import OPTConfig

    shape: dict[str, Any] = {
        "vocab_size": vocab_size, "hidden_size": 32, "word_embed_proj_dim": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64,
        "max_position_embeddings": 256, "do_layer_norm_before": False, "dropout": 0.1,
        "attention_dropout": 0.0, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2,
        "architectures": ["OPTForCausalLM"],
    }  # fmt: skip
    return OPTConfig(**(shape | changes))


def write_opt_like_hub(
    folder: Path,
    *,
    seed: int = 0,
    std: float | None = None,
    texts: Iterable[str] = CORPUS,
    vocab_size: int = 400,
    half: bool = True,
    prefix: str = "model.",
    **config_changes: Any,
) -> dict[str, Any]:
    """Write a folder like facebook/opt-350m: float16 `pytorch_model.bin`, no safetensors.

    Args:
        seed: Of the random weights.
        std: Redraw every matrix with this standard deviation (0.2: text that varies).
        half: Whether the file is in float16, as the hub's is.
        prefix: What the names in the file begin with: "model." (OPTForCausalLM) or "" (OPTModel).

    Returns:
        The tensors as they lie in the file.
    """
    import torch
    from transformers import OPTForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    size = write_opt_tokenizer(folder, texts=texts, vocab_size=vocab_size)
    torch.manual_seed(seed)
    model = OPTForCausalLM(opt_like_config(size, **config_changes))
    if std is not None:
        _redraw(model, std)
    tensors = {
        name.replace("model.", prefix, 1): (value.half() if half else value).clone()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    torch.save(tensors, folder / "pytorch_model.bin")
    config = model.config.to_dict() | {"dtype": "float16" if half else "float32"}
    _write_json(folder / "config.json", config)
    return tensors


def write_spm_tokenizer(
    folder: Path, *, texts: Iterable[str] = CORPUS, vocab_size: int = 120
) -> int:
    """Write a real sentencepiece model as `spm.model`, as DeBERTa-v3's folders hold.

    Returns the number of tokens, `[MASK]` included, which DeBERTa adds after the pieces.
    """
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.split("\n") if line),
        model_writer=model, model_type="unigram", vocab_size=vocab_size, hard_vocab_limit=False,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, minloglevel=2, num_threads=1,
        pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
    )  # fmt: skip
    (folder / "spm.model").write_bytes(model.getvalue())
    _write_json(
        folder / "tokenizer_config.json",
        {"do_lower_case": False, "vocab_type": "spm", "tokenizer_class": "DebertaV2Tokenizer"},
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return pieces.get_piece_size() + 1


def deberta_like_config(vocab_size: int, **changes: Any) -> Any:
    """Return a tiny DeBERTa-v2 of the published judge's kind: relative positions, one logit."""
    from transformers import DebertaV2Config

    shape: dict[str, Any] = {
        "vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128,
        "type_vocab_size": 0, "relative_attention": True, "position_buckets": 16,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p",
        "position_biased_input": False, "max_relative_positions": -1, "layer_norm_eps": 1e-7,
        "pooler_dropout": 0.0, "pooler_hidden_size": 32, "pooler_hidden_act": "gelu",
        "pad_token_id": 0, "num_labels": 1,
        "architectures": ["DebertaV2ForSequenceClassification"],
    }  # fmt: skip
    return DebertaV2Config(**(shape | changes))


def write_deberta_like_hub(
    folder: Path,
    *,
    seed: int = 0,
    std: float | None = 0.2,
    texts: Iterable[str] = CORPUS,
    vocab_size: int = 120,
    head: bool = True,
    **config_changes: Any,
) -> dict[str, Any]:
    """Write a folder like OpenAssistant/reward-model-deberta-v3-large-v2.

    float32 `pytorch_model.bin`, `spm.model`, no safetensors, no tokenizer.json.

    Args:
        seed: Of the random weights.
        std: Redraw every matrix with this standard deviation, so that scores differ.
        head: Whether the file holds the classifier's head.

    Returns:
        The tensors as they lie in the file.
    """
    import torch
    from transformers import DebertaV2ForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    size = write_spm_tokenizer(folder, texts=texts, vocab_size=vocab_size)
    torch.manual_seed(seed)
    model = DebertaV2ForSequenceClassification(deberta_like_config(size, **config_changes))
    if std is not None:
        _redraw(model, std)
    tensors = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if head or not name.startswith("classifier.")
    }
    torch.save(tensors, folder / "pytorch_model.bin")
    _write_json(folder / "config.json", model.config.to_dict() | {"dtype": "float32"})
    return tensors


def _redraw(model: Any, std: float) -> None:
    """Redraw all matrices, normally distributed."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, std)


def _write_json(file: Path, values: object) -> None:
    file.write_text(json.dumps(values, indent=2), encoding="utf-8")
