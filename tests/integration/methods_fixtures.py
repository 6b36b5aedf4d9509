"""A tiny OPT of OPT-350M's shape, a tiny DeBERTa, and a few pairs to train them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alignstudy.methods import TrainingSettings, TrainJob
from alignstudy.methods.weights.scratch import (
    ArchitectureSettings,
    TokenizerSettings,
    build_scratch_model_folder,
)
from alignstudy.records import Document, Pair

TOPICS = ("bread", "rain", "chess", "the moon", "old maps", "bees", "a train", "tea", "snow", "ice")


def make_pairs(count: int = 10) -> list[Pair]:
    pairs = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)] + " again" * (number // len(TOPICS))
        pairs.append(
            Pair(
                id=f"small/train:{number + 1}",
                prompt=f"\n\nHuman: Tell me about {topic}.\n\nAssistant:",
                chosen=f" I like {topic}, and here is why: it is good.",
                rejected=f" No. {topic} is bad" + ", bad" * (number % 3) + ".",
            )
        )
    return pairs


def make_documents(count: int = 10) -> list[Document]:
    return [Document(id=p.id, text=p.prompt + p.chosen) for p in make_pairs(count)]


TEXTS = [part for p in make_pairs() for part in (p.prompt + p.chosen, p.prompt + p.rejected)]

OPT_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 64,
    "word_embed_proj_dim": 16,
    "do_layer_norm_before": False,
    "max_position_embeddings": 128,
}


def write_scratch(folder: Path, model_type: str = "opt", **changes: Any) -> Path:
    """Write a folder without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = OPT_SHAPE | changes
    if model_type != "opt":
        shape = {k: v for k, v in shape.items() if k not in ("word_embed_proj_dim",)}
        shape.pop("do_layer_norm_before")
    build_scratch_model_folder(
        ArchitectureSettings(model_type=model_type, **shape),
        folder,
        tokenizer=TokenizerSettings(vocab_size=340),
        texts=TEXTS,
    )
    return folder


def write_opt(folder: Path, *, seed: int = 0, std: float = 0.1, **changes: Any) -> Path:
    """Write a folder with weights, spread enough that logits differ visibly."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    write_scratch(folder, **changes)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, std)
    model.save_pretrained(folder)
    return folder


def write_llama(folder: Path, *, tokenizer_from: Path) -> Path:
    """Write a tiny Llama with another folder's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from alignstudy.methods.weights.save import copy_tokenizer

    folder.mkdir(parents=True)
    copy_tokenizer(tokenizer_from, folder)
    size = json.loads((tokenizer_from / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_job(settings: TrainingSettings, parent: Path, root: Path, **changes: Any) -> TrainJob:
    """Make a job with its folders; rows are the small pairs unless said otherwise."""
    out, work = root / "out", root / "work"
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "settings": settings,
        "parent": parent,
        "rows": make_pairs(),
        "seed": 0,
        "out": out,
        "work": work,
        "digest": "d0",
    }
    return TrainJob(**(given | changes))


def read_metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights_of(out: Path) -> dict[str, Any]:
    """Read all tensors of a trained folder."""
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(out.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors
