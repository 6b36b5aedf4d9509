"""A model that sees by rules of its own is trained without our layout, and says so."""

import json

import methods_fixtures as fx
import pytest
import torch

from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop.train import train as run_training
from alignstudy.methods.weights.save import copy_tokenizer

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 128, "initializer_range": 0.3,
}  # fmt: skip
GROUPED = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}
LOCAL = {
    "hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["local"], 2]],
    "window_size": 16, "max_position_embeddings": 128, "initializer_range": 0.3,
    "attention_dropout": 0.0, "embed_dropout": 0.0, "resid_dropout": 0.0,
}  # fmt: skip


def write_model(folder, opt, name, **sizes):
    import transformers

    folder.mkdir()
    copy_tokenizer(opt, folder)
    vocabulary = json.loads((opt / "config.json").read_text())["vocab_size"]
    config = getattr(transformers, f"{name}Config")(vocab_size=vocabulary, **sizes)
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder)
    return folder


def train(parent, root, *, sharing="auto"):
    lora = LoRASettings(lora_dropout=0.0)
    settings = DPOSettings(
        max_length=64, learning_rate=1e-2, max_steps=3, prefix_sharing=sharing, lora=lora,
        probe_pairs=0,
    )  # fmt: skip
    return run_training(fx.make_job(settings, parent, root))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("Mistral", GROUPED | {"sliding_window": 16}), ("GPTNeo", LOCAL)],
)
def test_a_window_is_not_lost_by_sharing_prompts(name, sizes, tmp_path):
    opt = fx.write_opt(tmp_path / "opt")
    parent = write_model(tmp_path / "model", opt, name, **sizes)
    ours = train(parent, tmp_path / "auto")
    plain = train(parent, tmp_path / "off", sharing="off")
    assert "prompts are not shared" in ours.notes[0]
    assert "log_probs_are_the_models" in {outcome.guard for outcome in ours.guards}
    assert ours.work.processed_tokens == plain.work.processed_tokens
    assert ours.final_loss == plain.final_loss
    joins = name == "Mistral"  # the other's attention takes no part in SDPA's interface
    assert [note.partition(":")[0] for note in plain.notes] == ["rows are not joined"] * joins


def test_rows_that_a_model_cannot_join_are_padded_and_prompts_still_shared(tmp_path, monkeypatch):
    from alignstudy.methods.scoring import shared_forward

    opt = fx.write_opt(tmp_path / "opt")
    joined = train(opt, tmp_path / "joined")
    known = shared_forward.joined_mask
    monkeypatch.setattr(shared_forward, "joined_mask", lambda *given: known(*given).clone())
    padded = train(opt, tmp_path / "padded")
    assert joined.notes == ()
    assert padded.notes[0].startswith("rows are not joined: the model can't: RuntimeError")
    assert "log_probs_are_the_models" in {outcome.guard for outcome in padded.guards}
    assert padded.work.processed_tokens > joined.work.processed_tokens
    assert padded.work.processed_tokens < joined.work.real_tokens
    assert padded.final_loss == pytest.approx(joined.final_loss, abs=1e-5)


def test_without_a_window_prompts_are_shared_and_the_guard_tells_how_exactly(tmp_path):
    opt = fx.write_opt(tmp_path / "opt")
    parent = write_model(tmp_path / "model", opt, "Mistral", **GROUPED, sliding_window=None)
    ours = train(parent, tmp_path / "auto")
    plain = train(parent, tmp_path / "off", sharing="off")
    told = {outcome.guard: outcome.detail for outcome in ours.guards}
    assert "differ from those of the model's own" in told["log_probs_are_the_models"]
    assert ours.work.processed_tokens < plain.work.processed_tokens
    assert ours.final_loss == pytest.approx(plain.final_loss, abs=1e-5)
