"""What is measured on: real rows and prompts, and models of the studied shapes, weights random."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignstudy.metrics.axes import axis_named
from alignstudy.records import Pair, Prompt

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

SMALL_OPT = {
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "ffn_dim": 2048,
    "do_layer_norm_before": False,
    "max_position_embeddings": 2048,
}
"""22 million parameters with a vocabulary of 8,192."""

OPT_350M = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "ffn_dim": 4096,
    "word_embed_proj_dim": 512,
    "do_layer_norm_before": False,
    "max_position_embeddings": 2048,
}
"""The shape of facebook/opt-350m (331 million parameters with its 50,272 tokens)."""

DEBERTA_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "ffn_dim": 4096,
    "max_position_embeddings": 512,
}
"""The shape of DeBERTa-v3-large; the vocabulary is smaller, which costs only a look-up."""


def data_folder(variable: str, name: str) -> Path:
    """Find a folder of real data.

    Raises:
        SystemExit: If it isn't there; a benchmark on made-up rows would say nothing.
    """
    folder = Path(os.environ.get(variable, SHARED / name)).expanduser()
    if not folder.is_dir():
        sys.exit(f"{folder} is not there: set {variable} to the folder of {name}")
    return folder


def real_pairs(count: int) -> list[Pair]:
    """Draw pairs from the harmless-base test set of HH-RLHF."""
    from alignstudy.data.select.collect import collect_pairs
    from alignstudy.data.select.selection import RowSelection

    selection = RowSelection(subsets=("harmless-base",), split="test", max_rows=count, seed=0)
    source = data_folder("ALIGNSTUDY_HH_DIR", "hh-rlhf")
    return list(collect_pairs(source, selection, part="benchmark").rows)


def whole_texts(pair: Pair) -> list[str]:
    """Return a pair's two dialogues."""
    return [pair.prompt + response for response in (pair.chosen, pair.rejected or "")]


def texts_of(method: str, pairs: Sequence[Pair]) -> list[Any]:
    """Write pairs as stock TRL's trainers take them: whole texts for "sft", else three parts."""
    if method == "sft":
        return [whole_texts(pair)[0] for pair in pairs]
    return [{name: getattr(pair, name) for name in ("prompt", "chosen", "rejected")}
            for pair in pairs]  # fmt: skip


def all_test_pairs() -> list[Pair]:
    """Read the pairs of all test splits, in an order drawn once and for all."""
    import random

    from alignstudy.data.select.collect import collect_pairs
    from alignstudy.data.select.selection import RowSelection

    source = data_folder("ALIGNSTUDY_HH_DIR", "hh-rlhf")
    rows = list(collect_pairs(source, RowSelection(split="test"), part="benchmark").rows)
    random.Random(0).shuffle(rows)
    return rows


def published_prompts() -> list[Prompt]:
    """Read the 100 prompts of the published study."""
    folder = data_folder("ALIGNSTUDY_PAPER_DIR", "paper") / "prompts"
    return [
        Prompt(id=f"{axis}-{number}", axis=axis, text=text)
        for axis in ("harmless", "helpful")
        for number, text in enumerate(_read(folder / f"{axis_named(axis).prompts}_prompts.json"))
    ]


def published_responses(*, empty_ones: bool = False) -> list[tuple[str, str]]:
    """Read (prompt, response) of the four published models."""
    folder = data_folder("ALIGNSTUDY_PAPER_DIR", "paper") / "responses"
    rows = [row for path in sorted(folder.glob("*.json")) for row in _read(path)]
    return [
        (row["prompt"], row["response"]) for row in rows if empty_ones or row["response"].strip()
    ]


def _read(path: Path) -> list[Any]:
    return list(json.loads(path.read_text(encoding="utf-8")))


def texts_for_tokenizer() -> list[str]:
    """Return the dialogues that the small models' tokenizers are trained on."""
    return [text for pair in real_pairs(1000) for text in whole_texts(pair)]


def write_small_opt(folder: Path, *, vocab_size: int = 8192, **changes: Any) -> Path:
    """Write the 22M OPT: its tokenizer trained on real rows, its weights random."""
    return _write_scratch("opt", SMALL_OPT | changes, folder, vocab_size=vocab_size)


def write_judge(folder: Path, *, vocab_size: int = 8192, **changes: Any) -> Path:
    """Write a judge of DeBERTa-v3-large's shape, its weights random."""
    return _write_scratch("deberta-v2", DEBERTA_LARGE | changes, folder, vocab_size=vocab_size)


def _write_scratch(
    model_type: str, shape: dict[str, Any], folder: Path, *, vocab_size: int
) -> Path:
    from alignstudy.methods.weights.scratch import (
        ArchitectureSettings,
        TokenizerSettings,
        build_scratch_model_folder,
    )

    # Dropout is 0 on both sides: neither is charged for drawing masks.
    architecture = ArchitectureSettings(model_type=model_type, **{"dropout": 0.0} | shape)  # type: ignore[arg-type]
    folder.mkdir(parents=True)
    tokenizer = TokenizerSettings(vocab_size=vocab_size)
    texts = texts_for_tokenizer()
    build_scratch_model_folder(architecture, folder, tokenizer=tokenizer, texts=texts)
    _draw_weights(folder, std=0.02)
    return folder


def write_opt_350m(folder: Path, *, std: float, **changes: Any) -> Path:
    """Write OPT-350M's shape with OPT's own tokenizer; its weights random.

    Args:
        folder: Where to.
        std: Spread of the matrices' weights. As initialised for training (0.02) a model repeats
            one token; wider, its outputs vary, which is what a comparison of tokens needs.
        changes: Of the shape, for tests.
    """
    from transformers import OPTConfig

    folder.mkdir(parents=True)
    for path in data_folder("ALIGNSTUDY_TOKENIZER_DIR", "opt-tokenizer").glob("*.json"):
        shutil.copyfile(path, folder / path.name)
    shape = OPT_350M | {"vocab_size": 50272, "dropout": 0.0, "attention_dropout": 0.0} | changes
    config = OPTConfig(
        **shape, bos_token_id=2, eos_token_id=2, pad_token_id=1, architectures=["OPTForCausalLM"]
    )
    config.save_pretrained(folder)
    _draw_weights(folder, std=std)
    return folder


def _draw_weights(folder: Path, *, std: float) -> None:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    classifier = "SequenceClassification" in str(config.architectures)
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, std)
    model.save_pretrained(folder)


def near_equal(prompts: Sequence[Prompt], folder: Path, *, low: int, high: int) -> list[Prompt]:
    """Pick the prompts of `low` to `high` tokens."""
    lengths = _lengths(prompts, folder)
    return [prompt for prompt in prompts if low <= lengths[prompt.id] <= high]


def by_length(prompts: Sequence[Prompt], folder: Path) -> list[Prompt]:
    """Sort prompts by their tokens."""
    lengths = _lengths(prompts, folder)
    return sorted(prompts, key=lambda prompt: (lengths[prompt.id], prompt.id))


def evenly(values: Sequence[Prompt], number: int) -> list[Prompt]:
    """Pick so many that lie evenly: the middle one of each of `number` equal parts."""
    return [values[int((at + 0.5) * len(values) / number)] for at in range(number)]


def _lengths(prompts: Sequence[Prompt], folder: Path) -> dict[str, int]:
    from alignstudy.models.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(folder)
    return {prompt.id: len(tokenizer(prompt.text)["input_ids"]) for prompt in prompts}
