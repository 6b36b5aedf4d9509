"""What is measured on: real rows and prompts, and models of the studied shapes, weights random."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ours

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "ffn_dim": 4096}
"""Layers of opt-350m and of DeBERTa-v3-large; of the latter's vocabulary a part, a mere look-up."""

SMALL = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "ffn_dim": 2048}
"""22 million parameters with a vocabulary of 8,192."""

OPT = {"do_layer_norm_before": False, "max_position_embeddings": 2048}


def data_folder(variable: str, name: str) -> Path:
    """Find a folder of real data.

    Raises:
        SystemExit: If it isn't there; a benchmark on made-up rows would say nothing.
    """
    folder = Path(os.environ.get(variable, SHARED / name)).expanduser()
    if not folder.is_dir():
        sys.exit(f"{folder} is not there: set {variable} to the folder of {name}")
    return folder


def hh_rlhf() -> Path:
    """Find HH-RLHF."""
    return data_folder("ALIGNSTUDY_HH_DIR", "hh-rlhf")


def real_pairs(count: int) -> list[Any]:
    """Draw pairs from the harmless-base test set of HH-RLHF."""
    return ours.collect(hh_rlhf(), subsets=("harmless-base",), max_rows=count, seed=0)


def all_test_pairs() -> list[Any]:
    """Read the pairs of all test splits, in an order drawn once and for all."""
    rows = ours.collect(hh_rlhf())
    random.Random(0).shuffle(rows)
    return rows


def whole_texts(pair: Any) -> list[str]:
    """Return a pair's two dialogues."""
    return [pair.prompt + pair.chosen, pair.prompt + pair.rejected]


def published_prompts() -> list[str]:
    """Read the 100 prompts of the published study."""
    folder = data_folder("ALIGNSTUDY_PAPER_DIR", "paper") / "prompts"
    return [text for axis in ("harmful", "helpful") for text in _read(folder, f"{axis}_prompts")]


def published_responses(*, empty_ones: bool = False) -> list[tuple[str, str]]:
    """Read (prompt, response) of the four published models."""
    folder = data_folder("ALIGNSTUDY_PAPER_DIR", "paper") / "responses"
    rows = [row for path in sorted(folder.glob("*.json")) for row in _read(folder, path.stem)]
    return [
        (row["prompt"], row["response"]) for row in rows if empty_ones or row["response"].strip()
    ]


def _read(folder: Path, name: str) -> list[Any]:
    return list(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def write_small_opt(folder: Path, **changes: Any) -> Path:
    """Write the 22M OPT: its tokenizer trained on real rows, its weights random."""
    return _write_scratch(folder, {"model_type": "opt", **OPT, **SMALL, **changes})


def write_judge(folder: Path, **changes: Any) -> Path:
    """Write a judge of DeBERTa-v3-large's shape, its weights random."""
    return _write_scratch(folder, {"model_type": "deberta-v2", **LARGE, **changes})


def _write_scratch(folder: Path, architecture: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    texts = [text for pair in real_pairs(1000) for text in whole_texts(pair)]
    # Dropout is 0 on both sides: neither is charged for drawing masks.
    ours.write_model_folder(folder, texts=texts, vocab_size=8192, dropout=0.0, **architecture)
    draw_weights(folder, std=0.02)
    return folder


def write_opt_350m(folder: Path, *, std: float, **changes: Any) -> Path:
    """Write OPT-350M's shape with OPT's own tokenizer; its weights random.

    Args:
        folder: Where to.
        std: Spread of the matrices' weights. As initialised for training (0.02) a model repeats
            one token; narrower, its outputs vary, which is what a comparison of tokens needs.
        changes: Of the shape, for tests.
    """
    from transformers import OPTConfig

    folder.mkdir(parents=True)
    for path in data_folder("ALIGNSTUDY_TOKENIZER_DIR", "opt-tokenizer").glob("*.json"):
        shutil.copyfile(path, folder / path.name)
    tokens = {"vocab_size": 50272, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    shape = {**OPT, **LARGE, "word_embed_proj_dim": 512, **changes}
    off = {"dropout": 0.0, "attention_dropout": 0.0}
    OPTConfig(**shape, **tokens, **off, architectures=["OPTForCausalLM"]).save_pretrained(folder)
    draw_weights(folder, std=std)
    return folder


def draw_weights(folder: Path, *, std: float) -> None:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    torch.manual_seed(0)
    model = getattr(transformers, config.architectures[0])(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, std)
    model.save_pretrained(folder)


def token_counts(folder: Path, texts: Sequence[str]) -> list[int]:
    """Count the tokens of texts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [len(tokenizer(text)["input_ids"]) for text in texts]


def differing_tokens(
    folder: Path, alone: Sequence[tuple[list[int], str]], together: Sequence[tuple[str, int]]
) -> int:
    """Count the tokens of responses that differ in text or length."""
    from transformers import AutoTokenizer

    tokenizer, total = AutoTokenizer.from_pretrained(folder), 0
    exactly = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    for (tokens, _), (text, count) in zip(alone, together, strict=True):
        wanted = [token for token in tokens if token != tokenizer.eos_token_id]
        if (tokenizer.decode(wanted, **exactly), len(wanted)) != (text, count):
            total += max(len(wanted), count)
    return total
