"""What a micro-batch of a loss takes beside plain DPO's, forward and backward, on one core.

    python benchmarks/losses.py [--vocabulary 8000] [--losses sigmoid wpo tdpo2]

Prints the processor's milliseconds, medians of runs in turns, for full weights and an adapter. A
reference that is asked before the first step is not in them; one that steps ask is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from alignstudy.methods import LoRASettings, TrainJob, method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.weights.scratch import (
    ArchitectureSettings,
    TokenizerSettings,
    build_scratch_model_folder,
)
from alignstudy.models.rendering import load_rendering
from alignstudy.records import Pair

ROWS = 8
SHAPE: dict[str, Any] = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}


def pairs() -> list[Pair]:
    """Return a micro-batch of pairs; somewhat more than half of their tokens are responses'."""
    return [
        Pair(
            id=f"made/train:{row}",
            prompt="\n\nHuman: Tell me about bread." + " again" * (row % 7) + "\n\nAssistant:",
            chosen=" I like bread" + " and tea" * (10 + row % 5) + ".",
            rejected=" No. snow is bad" + ", bad" * (10 + row % 9) + ".",
        )
        for row in range(ROWS)
    ]


def write_model(folder: Path, vocabulary: int) -> Path:
    """Write a Llama of random weights; most of its vocabulary is never written."""
    texts = [pair.prompt + pair.chosen + str(pair.rejected) for pair in pairs()]
    shape = ArchitectureSettings(
        model_type="opt", ffn_dim=704, max_position_embeddings=512, **SHAPE
    )
    build_scratch_model_folder(
        shape, folder, tokenizer=TokenizerSettings(vocab_size=340), texts=texts
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        intermediate_size=704,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **SHAPE,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def trainer_of(loss: str, folder: Path, lora: LoRASettings | None, root: Path) -> tuple[Any, Any]:
    """Return a trainer and its one micro-batch."""
    settings = DPOSettings(loss_type=(loss,), max_length=256, lora=lora)
    job = TrainJob(
        settings=settings, parent=folder, rows=pairs(), seed=0, out=root, work=root, digest="none"
    )
    rendering = load_rendering(folder, job.template)
    encoded = method_of(settings).encode(job.rows, rendering)
    trainer = assemble(job, encoded, rendering.tokenizer, precision="fp32").trainer
    batch = trainer.prepare(trainer.data_collator([trainer.train_dataset[r] for r in range(ROWS)]))
    batch.pop("row")
    return trainer, batch


def main() -> None:
    """Print a line a loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--losses", nargs="+", default=["sigmoid", "wpo", "tdpo2"])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made, quiet_libraries():
        folder = write_model(Path(made) / "model", asked.vocabulary)
        for lora in (None, LoRASettings(lora_dropout=0.0)):
            trainers = {loss: trainer_of(loss, folder, lora, Path(made)) for loss in asked.losses}
            seconds: dict[str, list[float]] = {loss: [] for loss in trainers}
            for _ in range(asked.rounds + 1):  # the first one warms up
                for loss, (trainer, batch) in trainers.items():
                    trainer.model.zero_grad()
                    started = time.process_time()
                    trainer.compute_loss(trainer.model, batch).backward()
                    seconds[loss].append(time.process_time() - started)
            first = median(seconds[asked.losses[0]][1:])
            for loss, (_, *taken) in seconds.items():
                learns, middle = "full" if lora is None else "lora", median(taken)
                spread = f"{min(taken) * 1e3:.0f} to {max(taken) * 1e3:.0f}"
                print(f"{learns} {loss}: {middle * 1e3:.0f} ms ({spread}), {middle / first:.2f} x")


if __name__ == "__main__":
    main()
