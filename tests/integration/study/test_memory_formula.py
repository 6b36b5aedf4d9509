"""What memory a training takes, by formula, is what its tensors really take at their peak."""

from dataclasses import replace

import methods_fixtures as fx
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from alignstudy.methods import METHODS, LoRASettings, method_of
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.renderings import rendering_for
from alignstudy.methods.weights.save import copy_tokenizer
from alignstudy.records import Pair
from alignstudy.study.cost.memory import training_footprint
from alignstudy.study.cost.model_shape import read_shape

WORDS = ("rain", "bread", "chess", "bees", "tea", "snow", "old", "maps")
EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LORA = LoRASettings(lora_dropout=0.0)
CASES = [
    ("llama", "sft", {}, False),
    ("llama", "sft", {"lora": LORA}, False),
    ("llama", "sft", {"lora": LORA.model_copy(update={"target_modules": EVERY})}, False),
    ("llama", "dpo", {}, False),
    ("llama", "dpo", {"lora": LORA}, False),
    ("llama", "sft", {"lora": LORA, "precision": "bf16"}, False),
    ("llama", "sft", {}, True),
    ("llama", "dpo", {"lora": LORA}, True),
    ("opt", "sft", {}, False),
    ("opt", "sft", {"precision": "bf16"}, False),
    ("opt", "dpo", {"lora": LORA}, False),
    ("opt", "sft", {}, True),
    ("deberta", "reward_model", {}, False),
    ("llama", "sft", {"optim": "adamw_8bit"}, False),
    ("llama", "dpo", {"lora": LORA.model_copy(update={"load_in_4bit": True})}, False),
    ("opt", "sft", {"lora": LORA.model_copy(update={"load_in_4bit": True})}, True),
]
ROWS = 4


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """Models whose layers weigh more than what a step costs anyway."""
    from transformers import LlamaConfig, LlamaForCausalLM

    root = tmp_path_factory.mktemp("parents")
    wide = {"hidden_size": 256, "ffn_dim": 1024, "num_attention_heads": 4}
    wide |= {"max_position_embeddings": 512, "num_hidden_layers": 6}
    opt = fx.write_opt(root / "opt", word_embed_proj_dim=256, **wide)
    llama = root / "llama"
    llama.mkdir()
    copy_tokenizer(opt, llama)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(llama)
    return {
        "opt": opt,
        "llama": llama,
        "deberta": fx.write_scratch(root / "d", "deberta-v2", **wide),
    }


def rows():
    def text(number):
        return " ".join(WORDS * (number // 8 + 1))

    return [
        Pair(
            id=f"s/train:{number + 1}",
            prompt=f"\n\nHuman: Tell me of {text(32)}.\n\nAssistant:",
            chosen=f" {text(64)} {number}",
            rejected=f" {text(64)} bad {number}",
        )
        for number in range(ROWS)
    ]


def peak_of(work):
    """Return the most bytes that tensors made inside held at once; the allocator's own count."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


def measured(settings, parent, root, *, recomputed):
    """Return bytes of weights, moments, and of an update at its peak; and the longest row."""
    job = fx.make_job(settings, parent, root, rows=rows())
    with quiet_libraries():
        rendering = rendering_for(parent, settings, job.template)
        encoded = method_of(settings).encode(job.rows, rendering)
        trainer = assemble(job, encoded, rendering.tokenizer, precision="fp32").trainer
        batch = trainer.data_collator([trainer.train_dataset[row] for row in range(ROWS)])
        trainer.create_optimizer()
        model = trainer.model
        if recomputed:
            model.train()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        trainer.state.global_step = 1

        def update():
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                trainer.training_step(model, dict(batch))

        peak = peak_of(update)
        assert trainer.pieces_done == 1
        trainer.optimizer.step()
    state = [value for each in trainer.optimizer.state.values() for value in each.values()]
    seen = batch["attention_mask"].sum(1).max()
    return size_of(model.parameters()), size_of(filter(torch.is_tensor, state)), peak, int(seen)


def size_of(tensors):
    return sum(each.numel() * each.element_size() for each in tensors)


@pytest.mark.parametrize(("name", "method", "given", "recomputed"), CASES)
def test_the_formula_is_what_tensors_take(name, method, given, recomputed, parents, tmp_path):
    packed = "optim" in given or getattr(given.get("lora"), "load_in_4bit", False)
    if packed:
        pytest.importorskip("bitsandbytes")
    settings = METHODS.load(method).settings_type(
        **{"max_length": 512, "dropout": "off", "per_device_train_batch_size": ROWS} | given
    )
    weights, moments, peak, length = measured(
        settings, parents[name], tmp_path, recomputed=recomputed
    )
    footprint = training_footprint(settings, read_shape(parents[name]))
    parts = replace(footprint, length=length, recomputed=recomputed).parts()
    made = sum(parts.values()) - parts["weights"] - parts["second model"] - parts["optimizer"]
    assert weights == pytest.approx(parts["weights"], rel=0.05)
    assert moments == pytest.approx(parts["optimizer"], rel=0.05)
    assert 0.45 * made < peak < 1.2 * made
