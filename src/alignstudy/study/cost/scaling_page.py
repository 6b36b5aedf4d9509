"""What fits which card: `python -m alignstudy.study.cost.scaling_page > docs/scaling.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from alignstudy.methods import METHODS, LoRASettings, TrainingSettings
from alignstudy.study.cost.fitting import CONTEXT, GIB, USABLE, fit
from alignstudy.study.cost.memory import Footprint, training_footprint
from alignstudy.study.cost.model_shape import PUBLISHED, ModelShape, shape_of_config

HEAD = f"""\
# What fits which card
Made by `make docs` from the formula that `alignstudy plan STUDY --device-memory 24GiB` asks;
don't edit it here. `plan` says it of every new stage of a study, and of a training that doesn't
fit the nearest settings that would.

A training begins with micro-batches of `per_device_train_batch_size` rows (or `auto`). Where
memory runs out it halves them, with one row left computes layers again for their gradients
(gradient checkpointing), and last of all moves AdamW's moments to the processor's memory: there
they are 8 bytes a weight that learns, and come to the card weight by weight in each update, which
takes as long as they take to come and go. The update stays the same
([why](performance.md#what-is-done-and-why-it-is-exact)), and the training says what it did. Weights
and gradients stay as large as they are. These settings make them smaller:

| setting | saves | changes |
|---|---|---|
| `optim: adamw_8bit` | three quarters of AdamW's moments: 6 bytes a weight that learns | \
updates, by the rounding of moments |
| `lora: {{...}}` | gradients and moments: 12 bytes a weight | what can be learnt: a low-rank \
update |
| `lora: {{load_in_4bit: true}}` | 3.5 of 4 bytes a weight of the base's layers, and their \
copies in bf16 | the base: it is rounded to 4 bits wherever the adapter is used \
([why](adr/0021-a-base-in-4-bits.md)) |
| `max_length` | activations, in proportion | rows: their ends are cut |

8 and 4 bits need `pip install 'alignstudy[quantized]'`. An adapter has few weights: 8 bits save
it little. A reference costs nothing: it is asked before the first step, by the model that will be
trained. Whole distributions (`tdpo1`, `tdpo2`) and methods that sample hold a second model where
no adapter can be switched off; `plan` counts it.

## The table
Weights are float32, products bf16 (`precision: auto` on a GPU), micro-batches of 8 rows (pairs),
all of 512 tokens; LoRA as by default (r 8, q_proj and v_proj). Every cell is **computed**, none
is measured: what it takes as it begins, when all has given way, and whether a card holds it
(*recomputed*: only with gradient checkpointing; *offloaded*: only with moments in the processor's
memory besides). Of a card {CONTEXT / GIB:g} GiB are left to driver and kernels, and
{1 - USABLE:.0%} of the rest to fragments.
"""

CHECKED = """\

## How good the formula is
Held against what tensors take, by the allocator's own count, in
`tests/integration/study/test_memory_formula.py`: on a CPU, models of 5 to 7 million weights of
OPT's, Llama's and DeBERTa's kind; SFT, DPO and reward model, full, LoRA and QLoRA, float32 and
bf16, with and without recomputing, 8-bit moments. Weights and moments agree within 5 %; what an
update makes at its peak is 0.45 to 1.2 of the formula, less than 1 mostly: the formula holds
gradients and activations to be there at once, and pairs to share no prompt.

Measured on a GPU, of all this, is one training (H100, release 0.3.0, OPT-350M, SFT, bf16, 8 rows
of 214 tokens on average): 7.4 GiB at its peak; the formula says {computed:.1f}.
"""

_LLAMA = {"model_type": "llama", "rope_theta": 5e5}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "135M (SmolLM2)": _LLAMA
    | {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
    },
    "350M (OPT)": PUBLISHED["facebook/opt-350m"],
    "1B (Llama 3.2)": _LLAMA
    | {
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    },
    "1.7B (SmolLM2)": _LLAMA
    | {
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "intermediate_size": 8192,
        "vocab_size": 49152,
    },
    "3B (Llama 3.2)": _LLAMA
    | {
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    },
    "7B (Mistral)": _LLAMA
    | {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
    "8B (Llama 3.1)": _LLAMA
    | {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
}
"""Published configurations, as far as sizes go."""

_QLORA = LoRASettings(load_in_4bit=True)
WAYS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "SFT": ("sft", {}),
    "SFT, adamw_8bit": ("sft", {"optim": "adamw_8bit"}),
    "SFT, LoRA": ("sft", {"lora": LoRASettings()}),
    "DPO": ("dpo", {}),
    "DPO, LoRA": ("dpo", {"lora": LoRASettings()}),
    "DPO, QLoRA": ("dpo", {"lora": _QLORA}),
    "DPO, QLoRA, adamw_8bit": ("dpo", {"lora": _QLORA, "optim": "adamw_8bit"}),
    "reward model": ("reward_model", {}),
}
CARDS = (8, 16, 24, 40, 80)
"""GiB."""


def scaling_page() -> str:
    """Return the page as Markdown."""
    cards = "".join(f" {card} GiB |" for card in CARDS)
    lines = [f"| model | method | begins with | at least |{cards}", "|---|---|" + "---:|" * 7]
    for model in MODELS:
        lines += _rows(model)
    measured = replace(footprint_of("350M (OPT)", "SFT"), length=214)
    computed = measured.memory(on_gpu=True) / GIB
    return HEAD + "\n" + "\n".join(lines) + "\n" + CHECKED.format(computed=computed)


def _rows(model: str) -> Iterator[str]:
    for way in WAYS:
        footprint = footprint_of(model, way)
        least = fit(footprint, 0.0)
        cells = [f"{each / GIB:.1f} GiB" for each in (footprint.memory(on_gpu=True), least.memory)]
        for card in CARDS:
            found = fit(footprint, card * GIB)
            words = "recomputed" if found.footprint.recomputed else "yes"
            words = "offloaded" if found.footprint.offloaded else words
            cells.append(words if found.fits else "no")
        yield f"| {model} | {way} | {' | '.join(cells)} |"


def footprint_of(model: str, way: str) -> Footprint:
    """Return what a way to train one of the models takes, by their names in the table."""
    method, given = WAYS[way]
    shape = shape_of_config(MODELS[model])
    assert isinstance(shape, ModelShape)
    settings = METHODS.load(method).settings_type(**given)
    assert isinstance(settings, TrainingSettings)
    shape = replace(shape, writes=method != "reward_model")
    return training_footprint(settings, shape)


if __name__ == "__main__":
    sys.stdout.write(scaling_page())
