"""A study of seconds that has every kind of stage and file: what is tortured."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

SYLLABLES = ("ka", "lo", "mi", "ne", "pu", "ra", "so", "ti", "ve", "zo")
TRAINING = {"learning_rate": 1e-2, "max_length": 96, "per_device_train_batch_size": 4}
LORA = {"r": 2, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32}


def write_study(folder: Path) -> Path:
    """Write a base model, a judge, pairs and a study file that names them; return the last."""
    _write_pairs(folder / "data")
    texts = [json.loads(line)["chosen"] for line in _lines(folder / "data")]
    _write_model(folder / "base", texts, model_type="opt", max_position_embeddings=192)
    _write_model(folder / "judge", texts, model_type="deberta-v2", max_position_embeddings=128)
    path = folder / "study.yaml"
    path.write_text(json.dumps(_settings(folder), indent=1), encoding="utf-8")  # JSON is YAML
    return path


def with_workers(study: Path) -> Path:
    """Write the same study for two processes at a time; return its file."""
    path = study.with_name("workers.yaml")
    settings = {**json.loads(study.read_text(encoding="utf-8")), "workers": 2}
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return path


def _settings(folder: Path) -> dict[str, Any]:
    return {
        "study": "tortured",
        "base": str(folder / "base"),
        "data": {"source": str(folder / "data"), "train": {"split": "train"}},
        "prompts": {"harmful": {"n": 3}, "helpful": {"n": 3}},
        "calibration": None,
        "validation": None,
        "diagnostics": None,
        "thresholds": {"harmless": -1.1, "helpful": -1.1},  # among the scores
        "methods": {
            "sft": {**TRAINING, "max_steps": 1, "save_steps": 1},
            "dpo": {**TRAINING, "max_steps": 3, "save_steps": 1, "lora": LORA},
        },
        "recipes": {"base": [], "sft_dpo": ["sft", "dpo"]},
        "generation": {"max_new_tokens": 6},
        "judges": [{"name": "judge", "path": str(folder / "judge"), "max_length": 96}],
        "threads": 1,
        "workers": 1,
    }


def _write_pairs(folder: Path) -> None:
    """Write pairs of made-up words, in the layout of HH-RLHF."""
    drawn = random.Random(0)

    def words(count: int) -> str:
        return " ".join("".join(drawn.choices(SYLLABLES, k=2)) for _ in range(count))

    for subset in ("harmless-base", "helpful-base"):
        (folder / subset).mkdir(parents=True)
        for split, count in (("train", 12), ("test", 6)):
            rows = []
            for _ in range(count):
                asked = f"\n\nHuman: {words(4)}?\n\nAssistant: "
                rows.append({"chosen": asked + words(5), "rejected": asked + words(3)})
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / subset / f"{split}.jsonl").write_text(text, encoding="utf-8")


def _lines(folder: Path) -> list[str]:
    files = sorted(folder.rglob("*.jsonl"))
    return [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def _write_model(folder: Path, texts: list[str], **shape: Any) -> None:
    import ours
    from materials import draw_weights

    folder.mkdir()
    ours.write_model_folder(folder, texts=texts, vocab_size=300, dropout=0.0, **SHAPE, **shape)
    draw_weights(folder, std=0.5)
