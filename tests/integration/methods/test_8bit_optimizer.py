"""AdamW with moments in 8 bits: bitsandbytes' own, resumed to the bit, alone in a process."""

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import InterruptedRunError
from alignstudy.methods import METHODS
from alignstudy.methods.loop import checkpoints, trl_adapter
from alignstudy.methods.loop.train import train
from alignstudy.methods.weights.initial import initial_causal_lm
from alignstudy.models.tokenizers import load_tokenizer

bnb = pytest.importorskip("bitsandbytes")

WIDE = {"hidden_size": 64, "ffn_dim": 128}
"""Matrices of 4,096 weights and more: smaller ones keep moments in 32 bits."""


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    root = tmp_path_factory.mktemp("parents")
    judge = fx.write_scratch(root / "judge", "deberta-v2", **WIDE)
    opt = fx.write_opt(root / "opt", **WIDE)
    return {"sft": opt, "dpo": opt, "pretrain": opt, "reward_model": judge}


def settings_of(name="sft", **given):
    common = {"max_steps": 4, "learning_rate": 1e-3, "max_length": 96, "optim": "adamw_8bit"}
    common |= {"lr_scheduler_type": "linear", "save_steps": 2}
    return METHODS.load(name).settings_type(**(common | given))


def job_of(settings, parents, root, **changes):
    rows = fx.rows_for(settings)
    return fx.make_job(settings, parents[settings.method], root, rows=rows, **changes)


def moments(work):
    """Return the kinds of numbers that the newest checkpoint's moments are, by weights' sizes."""
    newest = checkpoints.newest_step(work)
    file = work / f"checkpoint-{newest}" / "optimizer.pt"
    state = torch.load(file, weights_only=True)["state"]
    held = (each.get("__bnb_optimizer_quant_state__", each) for each in state.values())
    return {(each["state1"].numel(), each["state1"].dtype) for each in held}


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def stopped_at(step):
    asked = iter([False] * (step - 1))
    return lambda: next(asked, True)


@pytest.mark.parametrize("name", ["sft", "dpo", "pretrain", "reward_model"])
def test_stopped_and_continued_is_the_same_to_the_bit(name, parents, tmp_path):
    settings = settings_of(name, max_steps=6)
    whole = job_of(settings, parents, tmp_path / "whole")
    train(whole)
    for step in (1, 2):
        cut = job_of(settings, parents, tmp_path / "cut", should_stop=stopped_at(step))
        with pytest.raises(InterruptedRunError):
            train(cut)
    train(job_of(settings, parents, tmp_path / "cut"))
    assert files(tmp_path / "cut" / "out") == files(whole.out)


def test_large_matrices_moments_are_in_8_bits_embeddings_are_not(parents, tmp_path):
    train(job_of(settings_of(), parents, tmp_path))
    found = moments(tmp_path / "work")
    of_size = {dtype: {size for size, kind in found if kind == dtype} for _, dtype in found}
    assert of_size[torch.uint8] == {64 * 64, 64 * 128}
    start = fx.weights_of(parents["sft"])
    tables = {name: each.numel() for name, each in start.items() if "embed_" in name}
    assert len(tables) == 2
    assert set(tables.values()) <= of_size[torch.float32]


def test_what_an_earlier_training_kept_in_32_bits_means_nothing_to_the_next(parents, tmp_path):
    """bitsandbytes knows embeddings by their places in the last model, for the whole process."""
    alone = job_of(settings_of("reward_model"), parents, tmp_path / "alone")
    bnb.optim.GlobalOptimManager.get_instance().initialize()
    train(alone)
    train(job_of(settings_of(), parents, tmp_path / "other"))
    after = job_of(settings_of("reward_model"), parents, tmp_path / "after")
    train(after)
    assert moments(after.work) == moments(alone.work)
    assert files(after.out) == files(alone.out)


def test_it_is_close_to_adamw_and_is_not_it(parents, tmp_path):
    start = fx.weights_of(parents["sft"])
    ends = {}
    for optim in ("adamw_torch_fused", "adamw_8bit"):
        job = job_of(settings_of(optim=optim), parents, tmp_path / optim)
        train(job)
        ends[optim] = fx.weights_of(job.out)
    name = "model.decoder.layers.0.fc1.weight"
    exact, packed = (ends[optim][name] - start[name] for optim in ends)
    apart = (packed - exact).norm() / exact.norm()
    assert 0 < apart < 0.2
    # Weights whose moments stay in 32 bits follow AdamW but for what the others do to them.
    bias = "model.decoder.layers.1.final_layer_norm.weight"
    small = [ends[optim][bias] - start[bias] for optim in ends]
    assert (small[1] - small[0]).norm() / small[0].norm() < 0.05


def test_it_is_bitsandbytes_own_with_the_settings_given(parents, tmp_path):
    settings = settings_of(lr_scheduler_type="constant", weight_decay=0.1)
    job = job_of(settings, parents, tmp_path)
    tokenizer = load_tokenizer(job.parent)
    model, _ = initial_causal_lm(job.parent, device="cpu", dropout="off")
    trainer = trl_adapter.build(job, fx.encode(job, tokenizer), model=model, tokenizer=tokenizer)
    made = trainer.create_optimizer()
    assert type(made) is bnb.optim.AdamW
    assert (made.args.optim_bits, made.is_paged) == (8, False)
    group = made.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.1)
