"""QLoRA: what is trained is what is kept, written with, and gone on from."""

import json
import math
import shutil
from dataclasses import replace

import methods_fixtures as fx
import online_fixtures as on
import pytest
import torch
from safetensors.torch import load_file, save_file

from alignstudy.errors import EnvironmentFault, GuardError, InputError, InterruptedRunError
from alignstudy.generation.implicit import implicit_accuracy
from alignstudy.methods import METHODS, LoRASettings
from alignstudy.methods.batches.encode import preference_ids
from alignstudy.methods.loop import assembly
from alignstudy.methods.loop.train import train
from alignstudy.methods.weights.save import merge_adapter
from alignstudy.models import quantized
from alignstudy.models.load import load_causal_lm, load_plain_lm
from alignstudy.records import Weights

pytest.importorskip("bitsandbytes")

QLORA = LoRASettings(r=4, lora_alpha=32, lora_dropout=0.0, load_in_4bit=True)
IDS = torch.arange(5, 45)[None]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt", hidden_size=64, ffn_dim=128)


def settings_of(name, **given):
    common = {"max_steps": 4, "learning_rate": 1e-2, "max_length": 96, "lora": QLORA}
    return METHODS.load(name).settings_type(**(common | {"dropout": "off"} | given))


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def logits_of(weights, **given):
    with torch.no_grad():
        return load_causal_lm(weights, **given)(input_ids=IDS).logits


@pytest.fixture(scope="module")
def trained(parent, tmp_path_factory):
    """A DPO by QLoRA, with the model as it was in memory when it was saved."""
    from alignstudy.methods.loop import train as module

    kept = []
    original = module.save_trained

    def save(model, job, template):
        with torch.no_grad():
            kept.append(model.eval()(input_ids=IDS).logits)
        original(model, job, template)

    root = tmp_path_factory.mktemp("trained")
    module.save_trained = save
    try:
        result = train(fx.make_job(settings_of("dpo"), parent, root))
    finally:
        module.save_trained = original
    return result, Weights(folder=root / "out", base=parent), kept[0]


def test_the_saved_model_is_the_one_that_was_trained(trained, parent):
    result, weights, in_memory = trained
    assert logits_of(weights).equal(in_memory)
    record = json.loads((weights.folder / "alignstudy.json").read_text())
    assert record["load_in_4bit"] is True
    # Neither the base in full with the adapter on it, nor the base in 4 bits, is that model.
    record.pop("load_in_4bit")
    assert (logits_of(Weights(folder=parent), in_4bit=True) - in_memory).abs().max() > 1e-2
    assert (logits_of(Weights(folder=parent)) - in_memory).abs().max() > 1e-2
    assert "% of the base's weights are held in 4 bits" in " ".join(result.notes)


def test_the_reference_is_the_base_in_4_bits(trained):
    result, _, _ = trained
    passed = {guard.guard: guard.passed for guard in result.guards}
    assert passed["reference_is_parent"] is passed["references_are_fresh"] is True
    assert passed["loss_is_formula"] is True


def test_only_the_adapter_and_what_is_no_layer_has_full_precision(parent):
    model = load_plain_lm(Weights(folder=parent), device="cpu", in_4bit=True)
    held = {name: weight.dtype for name, weight in model.named_parameters()}
    in_4bit = {name for name, dtype in held.items() if dtype == torch.uint8}
    assert {name.split(".")[-2] for name in in_4bit} == {
        *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "project_in", "project_out")
    }
    assert all(held[name] == torch.float32 for name in held.keys() - in_4bit)
    share = quantized.share_in_4bit(model)
    whole = load_plain_lm(Weights(folder=parent), device="cpu")
    layers = [each for each in whole.modules() if type(each) is torch.nn.Linear]
    sizes = sum(each.weight.numel() for each in layers if each is not whole.lm_head)
    assert share == pytest.approx(sizes / sum(each.numel() for each in whole.parameters()))


def test_a_4_bit_layer_computes_with_its_rounded_weights_training_or_not(parent):
    packed = load_causal_lm(Weights(folder=parent), in_4bit=True)
    full = load_causal_lm(Weights(folder=parent))
    before = full.model.decoder.layers[0].fc1.weight.detach().clone()
    quantized.dequantize_into(full, packed)
    moved = (full.model.decoder.layers[0].fc1.weight - before).norm() / before.norm()
    assert 0.02 < moved < 0.2  # NF4's rounding of normal values is some 9 %
    with torch.no_grad():
        expected = full(input_ids=IDS).logits
        for training in (False, True, False):
            for each in packed.modules():
                each.training = training
                each.dropout = 0.0 if isinstance(getattr(each, "dropout", None), float) else None
            torch.testing.assert_close(packed(input_ids=IDS).logits, expected)


def test_in_bfloat16_the_blocks_and_biases_stay_what_they_are(parent):
    packed = load_causal_lm(Weights(folder=parent), in_4bit=True)
    state = {name: each.clone() for name, each in packed.state_dict().items()}
    with torch.no_grad():
        exact = packed(input_ids=IDS).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = packed(input_ids=IDS).logits
        assert packed(input_ids=IDS).logits.equal(exact)
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()
    assert all(each.equal(state[name]) for name, each in packed.state_dict().items())
    other = load_causal_lm(Weights(folder=parent), in_4bit=True, dtype="bfloat16")
    fc1 = "model.decoder.layers.0.fc1.weight"
    assert other.state_dict()[fc1].equal(state[fc1])
    assert other.lm_head.weight.dtype == torch.bfloat16


def test_merged_weights_are_the_trained_model(trained, tmp_path):
    _, weights, in_memory = trained
    outcome = merge_adapter(weights, tmp_path)
    assert outcome.passed
    torch.testing.assert_close(logits_of(Weights(folder=tmp_path)), in_memory)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float32"


def test_a_method_goes_on_from_merged_weights(trained, tmp_path):
    _, weights, _ = trained
    (tmp_path / "merged").mkdir()
    merge_adapter(weights, tmp_path / "merged")
    result = train(fx.make_job(settings_of("dpo"), tmp_path / "merged", tmp_path / "next"))
    assert all(guard.passed for guard in result.guards)


def test_the_reference_of_an_implicit_reward_is_in_4_bits_too(trained, parent):
    _, weights, _ = trained
    untouched = replace(weights, folder=weights.folder.with_name("untouched"))
    shutil.copytree(weights.folder, untouched.folder)
    file = untouched.folder / "adapter_model.safetensors"
    save_file({name: 0 * each for name, each in load_file(file).items()}, file)
    given = {"encode": preference_ids, "max_length": 96, "device": "cpu", "template": "none"}
    base, pairs = Weights(folder=parent), fx.make_pairs(9)
    found = implicit_accuracy(untouched, base, pairs, in_4bit=True, **given)
    assert found.value == 50.0  # all ties: nothing was learnt
    assert implicit_accuracy(untouched, base, pairs, **given).value != 50.0  # of nine, none


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sft", {}),
        ("kto", {}),
        ("tpo", {}),
        ("dpo", {"loss_type": "simpo"}),
        ("dpo", {"loss_type": "tdpo2"}),  # whole distributions: the base is asked in each step
        ("dpo", {"dropout": "keep"}),  # and noised
    ],
)
def test_methods_learn_by_it(name, given, parent, tmp_path):
    settings = settings_of(name, **given)
    rows = fx.rows_for(settings)
    result = train(fx.make_job(settings, parent, tmp_path, rows=rows))
    refused = {guard.guard for guard in result.guards if not guard.passed}
    assert refused <= ({"dropout_is_off"} if given.get("dropout") == "keep" else set())
    with torch.no_grad():
        tuned = logits_of(Weights(folder=tmp_path / "out", base=parent))
    assert not tuned.equal(logits_of(Weights(folder=parent), in_4bit=True))


@pytest.mark.parametrize("loss_type", ["sigmoid", "tdpo2"])
def test_a_reference_in_a_folder_of_its_own_is_in_4_bits_too(loss_type, parent, tmp_path):
    """Asked beforehand or in each step: of equal weights nothing is preferred yet."""
    same = shutil.copytree(parent, tmp_path / "same")
    settings = settings_of("dpo", loss_type=loss_type, max_steps=1)
    job = fx.make_job(settings, parent, tmp_path, reference=same)
    train(job)
    assert fx.read_metrics(job.out)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_a_llama_is_held_in_4_bits_too(parent, tmp_path):
    folder = fx.write_llama(tmp_path / "llama", tokenizer_from=parent)
    job = fx.make_job(settings_of("dpo"), folder, tmp_path / "job")
    result = train(job)
    assert all(guard.passed for guard in result.guards)
    (tmp_path / "merged").mkdir()
    assert merge_adapter(Weights(folder=job.out, base=folder), tmp_path / "merged").passed


def test_small_updates_are_not_lost(parent, tmp_path):
    # One in bfloat16 would be: a weight near 0.1 moves by less than its last bit, 2^-12.
    settings = settings_of("sft", learning_rate=1e-6, lr_scheduler_type="constant", max_steps=3)
    train(fx.make_job(settings, parent, tmp_path))
    moved = fx.weights_of(tmp_path / "out")
    assert all(each.dtype == torch.float32 for each in moved.values())
    ups = torch.cat([each.flatten() for name, each in moved.items() if "lora_B" in name])
    assert ups.abs().max() == pytest.approx(3e-6, rel=0.2)
    downs = torch.cat([each.flatten() for name, each in moved.items() if "lora_A" in name])
    assert not downs.equal(downs.bfloat16().float())


def test_bfloat16_is_held_against_float32(parent, tmp_path):
    result = train(fx.make_job(settings_of("dpo", precision="bf16"), parent, tmp_path))
    guard = next(each for each in result.guards if each.guard == "bf16_follows_fp32")
    assert guard.passed
    assert "0 apart" not in guard.detail


def test_what_cant_be_packed_is_refused(parent, tmp_path, monkeypatch):
    fx.write_scratch(tmp_path / "none")
    with pytest.raises(InputError, match="holds no weights"):
        train(fx.make_job(settings_of("sft"), tmp_path / "none", tmp_path / "job"))
    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match="isn't installed") as raised:
        train(fx.make_job(settings_of("sft"), parent, tmp_path / "job"))
    assert "alignstudy[quantized]" in raised.value.hint


def test_a_base_that_stores_layers_transposed_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64)).save_pretrained(
        tmp_path
    )
    with pytest.raises(InputError, match="transposed"):
        load_causal_lm(Weights(folder=tmp_path), in_4bit=True)


@pytest.mark.parametrize("name", ["spin", "iterative_dpo", "best_of_n"])
def test_who_is_sampled_must_be_who_learns(name):
    from alignstudy.methods import ROUND_METHODS

    with pytest.raises(ValueError, match="samples are drawn from the model as its files hold it"):
        ROUND_METHODS.load(name)(lora=QLORA)


def test_a_policy_in_4_bits_is_sampled_as_it_is_trained(parent, tmp_path):
    settings = settings_of("grpo", sampling={"max_new_tokens": 8}, max_steps=2)
    job = fx.make_job(settings, parent, tmp_path)
    result = train(replace(job, ports=on.ports(parent, settings, on.vowels)))
    refused = {guard.guard for guard in result.guards if not guard.passed}
    assert refused <= {"samples_end"}  # a random model's seldom do
    samples = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    assert len(samples) == result.work.samples > 0


def test_stopped_and_continued_is_the_same_to_the_bit(parent, tmp_path):
    settings = settings_of("dpo", max_steps=5, save_steps=2)
    kept = tmp_path / "references.sqlite"
    whole = fx.make_job(settings, parent, tmp_path / "whole", references=kept)
    train(whole)
    cut = fx.make_job(settings, parent, tmp_path / "cut", references=kept)
    asked = iter([False, False, True])
    with pytest.raises(InterruptedRunError):
        train(replace(cut, should_stop=lambda: next(asked, True)))
    resumed = train(cut)
    assert files(cut.out) == files(whole.out)
    assert resumed.work.reference_reused > 0


def test_kept_references_of_the_base_in_full_are_not_taken(parent, tmp_path):
    kept = tmp_path / "references.sqlite"
    plain = QLORA.model_copy(update={"load_in_4bit": False})
    for name, lora in (("full", plain), ("packed", QLORA)):
        settings = settings_of("dpo", lora=lora)
        found = train(fx.make_job(settings, parent, tmp_path / name, references=kept))
        assert found.work.reference_reused == 0


@pytest.mark.parametrize("name", ["fc1", "layer_norm"])
def test_a_base_that_isnt_the_files_is_no_reference(name, parent, tmp_path, monkeypatch):
    """One code of a 4-bit weight differs, or one value of a weight in full."""
    original = assembly.initial_causal_lm

    def changed(*given, **options):
        model, note = original(*given, **options)
        weight = next(w for n, w in model.named_parameters() if name in n and "weight" in n)
        weight.data.flatten()[0] += 1
        return model, note

    monkeypatch.setattr(assembly, "initial_causal_lm", changed)
    with pytest.raises(GuardError, match="reference is not the model that training starts from"):
        train(fx.make_job(settings_of("dpo"), parent, tmp_path))
