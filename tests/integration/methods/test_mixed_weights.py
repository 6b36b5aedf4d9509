"""Weights made of other weights: extrapolated, averaged, on an arc; against formulas in float64."""

import json
import math
import shutil
from dataclasses import replace

import methods_fixtures as fx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from alignstudy.errors import DamagedArtefactError, GuardError
from alignstudy.methods.base import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop.train import train
from alignstudy.methods.weights.mix import Slerp, WeightedSum, angle_between, mix_weights
from alignstudy.methods.weights.save import merge_adapter
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Weights

LORA = LoRASettings(r=2, lora_alpha=4, target_modules=("q_proj", "fc1"))


@pytest.fixture(scope="module")
def opts(tmp_path_factory):
    """Three models of one shape and tokenizer, their weights drawn apart."""
    root = tmp_path_factory.mktemp("opts")
    return [fx.write_opt(root / str(seed), seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def adapter(opts, tmp_path_factory):
    """An adapter of the first."""
    settings = DPOSettings(
        max_length=64, per_device_train_batch_size=4, learning_rate=1e-2, lora=LORA
    )
    job = fx.make_job(settings, opts[0], tmp_path_factory.mktemp("adapter"))
    train(job)
    return Weights(folder=job.out, base=opts[0])


@pytest.fixture
def mixed(tmp_path):
    """Mix folders; return the tensors of the result."""

    def mix(folders, rule, name="mixed"):
        out = tmp_path / name
        out.mkdir()
        assert mix_weights(folders, rule, out, like=folders[0]).passed
        return fx.weights_of(out)

    return mix


def vectors(*rows):
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_expo_on_the_published_formula():
    start, made = vectors((1, -2, 0.5), (1.1, -2.3, 0.5))
    found = WeightedSum((1.5, -0.5))([made, start])
    assert found.tolist() == pytest.approx([1.15, -2.45, 0.5], abs=1e-12)


def test_alpha_0_is_what_was_trained_and_minus_1_where_it_began(opts, mixed):
    start, made, _ = opts
    assert equal(mixed([made, start], WeightedSum((1.0, -0.0)), "0"), fx.weights_of(made))
    assert equal(mixed([made, start], WeightedSum((0.0, 1.0)), "-1"), fx.weights_of(start))


def test_every_tensor_of_a_model_is_moved_in_float32_rounded_once(opts, mixed):
    start, made, _ = opts
    found, alpha = mixed([made, start], WeightedSum((1.3, -0.3))), 0.3
    before, after = (
        {name: tensor.numpy().astype(np.float64) for name, tensor in fx.weights_of(each).items()}
        for each in (start, made)
    )
    assert found.keys() == after.keys()
    for name, tensor in found.items():
        exact = after[name] + alpha * (after[name] - before[name])
        assert tensor.dtype == torch.float32
        last_place = np.spacing(np.abs(tensor.numpy())).astype(np.float64)
        assert np.all(np.abs(tensor.numpy() - exact) <= 0.500001 * last_place), name


def test_an_extrapolated_adapter_is_its_merge_factor_scaled(adapter, opts, tmp_path):
    folders = {name: tmp_path / name for name in ("scaled", "merged", "twin", "merged twin")}
    for folder in folders.values():
        folder.mkdir()
    assert merge_adapter(adapter, folders["scaled"], factor=1.5).passed
    found, base = fx.weights_of(folders["scaled"]), fx.weights_of(opts[0])
    # To the bit what a twin with 1.5 times the lora_alpha merges to ...
    shutil.copytree(adapter.folder, folders["twin"], dirs_exist_ok=True)
    config = json.loads((adapter.folder / "adapter_config.json").read_text())
    config["lora_alpha"] *= 1.5
    (folders["twin"] / "adapter_config.json").write_text(json.dumps(config))
    merge_adapter(replace(adapter, folder=folders["twin"]), folders["merged twin"])
    assert equal(found, fx.weights_of(folders["merged twin"]))
    # ... and theta_0 + (1 + alpha) B A lora_alpha / r, by the adapter's own file.
    stored = load_file(adapter.folder / "adapter_model.safetensors")
    changed = 0
    for name, tensor in found.items():
        path = f"base_model.model.{name.removesuffix('.weight')}"
        expected = base[name].double()
        if f"{path}.lora_A.weight" in stored:
            down, up = (stored[f"{path}.lora_{part}.weight"].double() for part in "AB")
            expected = expected + 1.5 * 4 / 2 * up @ down
            changed += 1
        assert torch.allclose(tensor.double(), expected, rtol=0, atol=1e-7), name
    assert changed == 4
    # The merged weights extrapolated are the same, but for their rounding.
    merge_adapter(adapter, folders["merged"])
    merged = fx.weights_of(folders["merged"])
    for name, tensor in found.items():
        moved = WeightedSum((1.5, -0.5))([merged[name].double(), base[name].double()])
        assert torch.allclose(tensor.double(), moved, rtol=0, atol=2e-7), name
    assert not equal(found, merged)


@pytest.mark.parametrize("number", [2, 3, 7])
def test_the_mean_of_equal_models_is_the_model_to_the_bit(number, opts, mixed):
    found = mixed([opts[1]] * number, WeightedSum((1 / number,) * number))
    assert equal(found, fx.weights_of(opts[1]))


def test_an_average_has_no_order(opts, mixed):
    one, two, three = opts
    share = WeightedSum((0.2, 0.3, 0.5))
    found = mixed([one, two, three], share, "forward")
    back = mixed([three, one, two], WeightedSum((0.5, 0.2, 0.3)), "back")
    for name, tensor in found.items():  # a tie may be rounded up in one, down in the other
        assert torch.allclose(tensor, back[name], rtol=1.2e-7, atol=0), name
        assert (tensor == back[name]).float().mean() > 0.99
    apart = [fx.weights_of(each) for each in opts]
    for name, tensor in found.items():
        stack = np.stack([each[name].numpy().astype(np.float64) for each in apart])
        expected = np.average(stack, axis=0, weights=share.weights)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_slerp_ends_at_its_ends(opts, mixed):
    assert equal(mixed(opts[:2], Slerp(0.0), "0"), fx.weights_of(opts[0]))
    assert equal(mixed(opts[:2], Slerp(1.0), "1"), fx.weights_of(opts[1]))


@pytest.mark.parametrize("t", [0.1, 0.5, 0.75])
def test_slerp_walks_a_great_circle_at_even_speed(t):
    """Against a rotation in the plane of both vectors (Gram-Schmidt), and against the lengths."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 4, 5))
    other *= np.linalg.norm(one) / np.linalg.norm(other)
    found = Slerp(t)([torch.tensor(one), torch.tensor(other)]).numpy()
    radius = np.linalg.norm(one)
    assert np.linalg.norm(found) == pytest.approx(radius, rel=1e-12)
    u = one / radius
    w = other - np.vdot(u, other) * u
    w /= np.linalg.norm(w)
    whole = math.acos(np.vdot(one, other) / radius**2)
    expected = radius * (math.cos(t * whole) * u + math.sin(t * whole) * w)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_slerp_keeps_lengths_as_they_are_and_is_linear_where_no_arc_is():
    one, other = vectors((2.0, 0.0), (0.0, 4.0))
    half = math.sin(math.pi / 4)  # of the ends as they are, not of their directions
    assert Slerp(0.5)([one, other]).tolist() == pytest.approx([2 * half, 4 * half])
    for second in (1.5 * one, -one, 0 * one, one + torch.tensor([0.0, 1e-9])):
        chord = 0.75 * one + 0.25 * second
        assert torch.equal(Slerp(0.25)([one, second]), chord)
    tilted = one + torch.tensor([0.0, 2e-5])  # 1e-5 rad: an arc, and the chord to 1e-10
    assert torch.allclose(Slerp(0.25)([one, tilted]), 0.75 * one + 0.25 * tilted, rtol=1e-9)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 1.0, math.pi / 2, 3.0])
def test_small_angles_are_measured(angle):
    one, other = vectors((1.0, 0.0), (3 * math.cos(angle), 3 * math.sin(angle)))
    assert angle_between(one, other) == pytest.approx(angle, rel=1e-6)


def test_the_result_is_a_whole_model(opts, mixed, tmp_path):
    found = mixed(opts, WeightedSum((0.2, 0.3, 0.5)))
    folder = tmp_path / "mixed"
    model = load_causal_lm(Weights(folder=folder))
    assert model.lm_head.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr()
    assert "lm_head.weight" not in found  # tied: stored, and mixed, once
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert load_tokenizer(folder)("I like tea")["input_ids"]


def test_files_of_another_precision_are_mixed_in_float32(opts, mixed, tmp_path):
    coarse = tmp_path / "coarse"
    shutil.copytree(opts[1], coarse)
    halved = {name: tensor.bfloat16() for name, tensor in fx.weights_of(coarse).items()}
    save_file(halved, coarse / "model.safetensors", metadata={"format": "pt"})
    found = mixed([opts[0], coarse], WeightedSum((0.5, 0.5)))
    for name, tensor in fx.weights_of(opts[0]).items():
        assert torch.equal(found[name], (tensor.double() + halved[name].double()).div(2).float())


def test_weights_in_several_files_and_buffers(opts, mixed, tmp_path):
    split = tmp_path / "split"
    shutil.copytree(opts[0], split)
    (split / "model.safetensors").unlink()
    load_causal_lm(Weights(folder=opts[0])).save_pretrained(split, max_shard_size="20KB")
    assert len(list(split.glob("*.safetensors"))) > 2
    whole = mixed([opts[0], opts[1]], Slerp(0.3), "whole")
    assert equal(mixed([split, opts[1]], Slerp(0.3), "in parts"), whole)
    assert (tmp_path / "in parts" / "model.safetensors.index.json").is_file()


def test_buffers_are_kept_as_they_are(tmp_path, mixed):
    """Some files hold them (attention masks, scales): their mean would mean nothing."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folders = []
    for seed in (0, 1):
        folder = tmp_path / f"gemma-{seed}"
        shutil.copytree(fx.write_opt(tmp_path / f"opt-{seed}"), folder)
        config = AutoConfig.for_model(
            "gemma3_text", vocab_size=340, hidden_size=16, intermediate_size=16,
            num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        )  # fmt: skip
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        folders.append(folder)
    stored = [fx.weights_of(folder) for folder in folders]
    scale = torch.tensor(4.0), torch.tensor(7.0)
    for folder, tensors, value in zip(folders, stored, scale, strict=True):
        tensors["model.embed_tokens.embed_scale"] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    found = mixed(folders, WeightedSum((0.5, 0.5)))
    assert found["model.embed_tokens.embed_scale"] == 4.0
    name = "model.embed_tokens.weight"
    assert torch.equal(found[name], (stored[0][name].double() + stored[1][name]).div(2).float())


def test_models_of_other_shapes_are_refused(opts, mixed, tmp_path):
    wide = fx.write_opt(tmp_path / "wide", ffn_dim=128)
    with pytest.raises(GuardError, match="differ in more than values") as refused:
        mixed([opts[0], wide], WeightedSum((0.5, 0.5)))
    assert "fc1" in refused.value.why
    assert "(64, 32) and (128, 32)" in str(refused.value)
    deep = fx.write_opt(tmp_path / "deep", num_hidden_layers=3)
    with pytest.raises(GuardError, match="in one of them only"):
        mixed([opts[0], deep], Slerp(0.5), "deeper")


def test_what_is_not_finite_is_refused(opts, mixed, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(opts[0], broken)
    tensors = fx.weights_of(broken)
    name = "model.decoder.layers.0.fc1.weight"
    tensors[name][0, 0] = float("inf")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GuardError, match=r"layers\.0\.fc1\.weight that aren't finite"):
        mixed([opts[1], broken], WeightedSum((1.5, -0.5)))


def test_a_file_that_is_cut_short_is_told(opts, mixed, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(opts[0], broken)
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedArtefactError, match="can't be read"):
        mixed([opts[1], broken], WeightedSum((0.5, 0.5)))
