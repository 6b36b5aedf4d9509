"""The four methods on real tiny models: they learn, repeat to the bit, and keep their files."""

import json
import math
from dataclasses import replace

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import DataError, EnvironmentFault, GuardError, InputError
from alignstudy.methods import LoRASettings
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.train import train
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.weights.save import merge_adapter
from alignstudy.models.digests import weights_digest
from alignstudy.models.load import load_causal_lm, load_classifier
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Pair, Weights

SMALL = {"max_length": 64, "per_device_train_batch_size": 5, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    return fx.write_scratch(tmp_path_factory.mktemp("deberta"), "deberta-v2")


def run(settings: TrainingSettings, parent, root, **changes):
    job = fx.make_job(settings, parent, root, **changes)
    return train(job), job.out


def same(one, other):
    first, second = fx.weights_of(one), fx.weights_of(other)
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_sft_learns_repeats_to_the_bit_and_heeds_its_seed(opt, tmp_path):
    settings = SFTSettings(**SMALL, num_train_epochs=4)
    result, out = run(settings, opt, tmp_path / "a")
    curve = fx.read_metrics(out)
    assert [line["step"] for line in curve] == list(range(1, 9))
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.1
    assert result.steps == 8
    assert result.epochs == 4
    assert result.final_loss == curve[-1]["loss"]
    assert result.num_tokens == curve[-1]["tokens"] == 4 * curve[1]["tokens"]
    _, again = run(settings, opt, tmp_path / "b")
    assert same(out, again)
    assert [p.name for p in sorted(again.iterdir())] == [p.name for p in sorted(out.iterdir())]
    for file in out.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    _, other = run(settings, opt, tmp_path / "c", seed=1)
    assert not same(out, other)


def test_training_prints_nothing(opt, tmp_path, capfd):
    run(DPOSettings(**SMALL, lora=LoRASettings()), opt, tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("small", [True, False])
def test_of_a_small_model_s_training_older_objects_are_left_alone_and_then_not(
    small, opt, tmp_path, monkeypatch
):
    import gc

    from alignstudy.methods.loop import callback
    from alignstudy.methods.loop import train as training

    monkeypatch.setattr(training, "SMALL", 2**24 if small else 1)
    frozen = []
    monkeypatch.setattr(
        callback.ProgressAndCheckpointCallback,
        "on_step_end",
        lambda *_, **__: frozen.append(gc.get_freeze_count()),
    )
    before = gc.get_freeze_count()
    run(SFTSettings(**SMALL, max_steps=1), opt, tmp_path)
    assert (frozen[0] > before + 1000) == small
    assert gc.get_freeze_count() == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "no room on the disk"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), "no room"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    ],
)
def test_a_full_disk_or_memory_is_said_in_words(error, words, opt, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(checkpoints, "rotate", fail)
    with pytest.raises(EnvironmentFault, match=words) as caught:
        run(SFTSettings(**SMALL, save_steps=1), opt, tmp_path)
    assert caught.value.kept == "the checkpoint of step 1"


def test_other_errors_are_not_renamed(opt, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(checkpoints, "rotate", fail)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        run(SFTSettings(**SMALL, save_steps=1), opt, tmp_path)


def test_trained_folder_is_whole_and_keeps_the_parents_dropout_and_tokenizer(opt, tmp_path):
    _, out = run(SFTSettings(**SMALL, dropout="off"), opt, tmp_path)
    assert load_causal_lm(Weights(folder=out)).config.dropout == 0.1
    text = fx.TEXTS[0]
    assert load_tokenizer(out)(text)["input_ids"] == load_tokenizer(opt)(text)["input_ids"]
    names = {path.name for path in out.iterdir()}
    assert not names & {"README.md", "training_args.bin", "optimizer.pt"}


def test_only_what_was_asked_for_is_trained(opt, tmp_path):
    _, full = run(SFTSettings(**SMALL), opt, tmp_path / "full")
    before, after = fx.weights_of(opt), fx.weights_of(full)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(before)
    lora = LoRASettings(r=2, lora_alpha=4, target_modules=("q_proj", "fc1"))
    _, adapter = run(SFTSettings(**SMALL, lora=lora), opt, tmp_path / "lora")
    stored = fx.weights_of(adapter)
    assert {name.split(".")[-3] for name in stored} == {"q_proj", "fc1"}
    assert all(value.abs().sum() > 0 for value in stored.values())


def test_dpo_on_saved_sft_weights_starts_at_ln_2_and_widens_the_margin(opt, tmp_path):
    _, sft = run(SFTSettings(**SMALL, lora=None), opt, tmp_path / "sft")
    before = weights_digest(sft)
    for lora in (LoRASettings(), None):
        root = tmp_path / f"dpo-{lora is None}"
        settings = DPOSettings(**SMALL, num_train_epochs=4, lora=lora)
        result, out = run(settings, sft, root)
        curve = fx.read_metrics(out)
        assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert curve[0]["implicit_reward_margin"] == pytest.approx(0, abs=1e-4)
        assert curve[-1]["implicit_reward_margin"] > 0.005
        assert {"logps_chosen", "logps_rejected", "implicit_reward_accuracy"} <= set(curve[0])
        guards = {outcome.guard: outcome for outcome in result.guards}
        assert guards["reference_is_parent"].passed
        assert guards["dropout_is_off"].passed
        assert guards["end_is_learnt"].passed
    assert weights_digest(sft) == before


def test_an_adapters_file_does_not_hang_on_the_order_of_a_set(opt, tmp_path):
    """PEFT keeps names of layers in a set, which every process orders in its own way."""
    layers = ["v_proj", "out_proj", "fc2", "q_proj", "fc1", "k_proj"]
    settings = DPOSettings(**SMALL, max_steps=1, lora=LoRASettings(target_modules=layers))
    _, adapter = run(settings, opt, tmp_path / "dpo")
    written = json.loads((adapter / "adapter_config.json").read_text())
    assert written["target_modules"] == sorted(layers)


def test_an_adapter_names_its_base_by_hash_and_merges_into_the_same_function(opt, tmp_path):
    settings = DPOSettings(**SMALL, num_train_epochs=4, lora=LoRASettings())
    _, adapter = run(settings, opt, tmp_path / "dpo")
    record = json.loads((adapter / "alignstudy.json").read_text())
    assert record == {"base": opt.name, "base_weights_sha256": weights_digest(opt)}
    assert str(tmp_path) not in (adapter / "adapter_config.json").read_text()
    merged = tmp_path / "merged"
    merged.mkdir()
    assert merge_adapter(Weights(folder=adapter, base=opt), merged).passed
    ids = torch.tensor([[2, 40, 41, 42, 43]])
    with torch.no_grad():
        adapted = load_causal_lm(Weights(folder=adapter, base=opt))(input_ids=ids).logits
        whole = load_causal_lm(Weights(folder=merged))(input_ids=ids).logits
        base = load_causal_lm(Weights(folder=opt))(input_ids=ids).logits
    assert torch.allclose(adapted, whole, atol=1e-5)
    assert not torch.allclose(base, whole, atol=1e-3)
    other = fx.write_opt(tmp_path / "other", seed=5)
    with pytest.raises(GuardError, match="trained on other weights"):
        merge_adapter(Weights(folder=adapter, base=other), merged)
    with pytest.raises(InputError, match="no adapter"):
        merge_adapter(Weights(folder=opt), merged)


def test_pretraining_starts_from_the_seed_and_learns(opt, tmp_path):
    folder = fx.write_scratch(tmp_path / "scratch")
    settings = PretrainSettings(
        max_length=64, per_device_train_batch_size=4, num_train_epochs=8, learning_rate=1e-2
    )
    job = {"rows": fx.make_documents()}
    result, out = run(settings, folder, tmp_path / "a", **job)
    curve = fx.read_metrics(out)
    assert curve[0]["loss"] == pytest.approx(math.log(340), abs=0.3)
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5
    assert result.notes == ("weights were drawn from the seed",)
    _, again = run(settings, folder, tmp_path / "b", **job)
    assert same(out, again)
    _, other = run(settings.model_copy(update={"max_steps": 1}), folder, tmp_path / "c", **job)
    _, seeded = run(
        settings.model_copy(update={"max_steps": 1}), folder, tmp_path / "d", seed=1, **job
    )
    assert not same(other, seeded)
    grown, _ = run(settings, opt, tmp_path / "e", **job)
    assert grown.notes == ()


def test_reward_model_learns_to_rank_and_reads_pairs_as_the_judge_does(deberta, tmp_path):
    settings = RewardModelSettings(
        max_length=64, per_device_train_batch_size=5, learning_rate=3e-3, num_train_epochs=8
    )
    result, out = run(settings, deberta, tmp_path / "a")
    curve = fx.read_metrics(out)
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=0.01)
    assert curve[-1]["pair_accuracy"] == 1.0
    assert {"score_margin", "mean_score"} <= set(curve[0])
    model, tokenizer = load_classifier(out), load_tokenizer(out)
    assert model.config.hidden_dropout_prob == 0.1
    for pair in fx.make_pairs(3):
        scores = [
            model(**tokenizer(pair.prompt, text.strip(), return_tensors="pt")).logits.item()
            for text in (pair.chosen, pair.rejected)
        ]
        assert scores[0] > scores[1]
    more, _ = run(settings.model_copy(update={"max_steps": 1}), out, tmp_path / "b")
    assert more.notes == ()
    assert more.final_loss < result.final_loss + 0.3


def test_a_pretrained_body_gets_a_head_but_nothing_else_is_made_up(deberta, tmp_path):
    from transformers import AutoConfig, DebertaV2Model

    body = tmp_path / "body"
    config = AutoConfig.from_pretrained(deberta)
    DebertaV2Model(config).save_pretrained(body)
    for file in deberta.glob("tokenizer*"):
        (body / file.name).write_bytes(file.read_bytes())
    settings = RewardModelSettings(max_length=64, max_steps=1)
    result, out = run(settings, body, tmp_path / "a")
    assert result.notes == ("a new head was drawn from the seed",)
    assert load_classifier(out).config.num_labels == 1
    values = json.loads((body / "config.json").read_text())
    (body / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 3}))
    with pytest.raises(GuardError, match="weights beyond the head are missing"):
        run(settings, body, tmp_path / "b")


def test_rows_grouped_by_length_are_all_read_in_another_order(opt, tmp_path):
    plain, one = run(SFTSettings(**SMALL, num_train_epochs=2), opt, tmp_path / "a")
    grouped, other = run(
        SFTSettings(**SMALL, num_train_epochs=2, group_by_length=True), opt, tmp_path / "b"
    )
    assert plain.num_tokens == grouped.num_tokens
    assert not same(one, other)


def test_long_rows_are_cut_or_left_out_and_counted(opt, tmp_path):
    long = fx.make_pairs(2)
    rows = [
        replace(long[0], chosen=long[0].chosen * 9),
        replace(long[1], prompt=long[1].prompt.replace("me", "me" * 60)),
        *fx.make_pairs(10)[2:],
    ]
    for settings in (
        SFTSettings(**SMALL, max_steps=1),
        DPOSettings(**SMALL, max_steps=1, lora=LoRASettings()),
    ):
        result, _ = run(settings, opt, tmp_path / settings.method, rows=rows)
        counts = result.counts
        assert (counts["rows"], counts["used"]) == (10, 9)
        assert (counts["truncated"], counts["too_long"]) == (1, 1)


def test_what_can_not_be_trained_on_is_refused_in_words(opt, tmp_path):
    pair = fx.make_pairs(1)[0]
    settings = DPOSettings(max_length=8, lora=LoRASettings())
    with pytest.raises(DataError, match="no row is left"):
        run(settings, opt, tmp_path / "a")
    with pytest.raises(DataError, match="small/train:1 has no rejected"):
        run(DPOSettings(max_length=64), opt, tmp_path / "b", rows=[replace(pair, rejected=None)])
    uncued = Pair(id="x", prompt="\n\nHuman: Hi", chosen=" a", rejected=" b")
    with pytest.raises(GuardError, match="1 of 1 prompts don't end in"):
        run(SFTSettings(max_length=64), opt, tmp_path / "c", rows=[uncued])
    with pytest.raises(InputError, match="max_length 512 is more than the model can read"):
        run(SFTSettings(), opt, tmp_path / "d")
    with pytest.raises(InputError, match="pinned to cuda:1"):
        run(SFTSettings(max_length=64), opt, tmp_path / "e", device="cuda:1")
