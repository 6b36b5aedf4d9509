"""Every setting reaches what it is about: none is accepted and ignored."""

import methods_fixtures as fx
import pytest
import torch

from alignstudy.methods import METHODS, LoRASettings, method_of
from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.loop.train import train
from alignstudy.methods.model_outputs import PairLogps, PairScores, SampleLogps
from alignstudy.methods.weights import initial
from alignstudy.models.load import load_causal_lm, load_classifier
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Weights

COMMON = {
    "num_train_epochs": 3.0,
    "max_steps": 7,
    "learning_rate": 1.5e-3,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 2.0,
    "weight_decay": 0.03,
    "max_grad_norm": 0.7,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "max_length": 61,
    "save_steps": 3,
}
"""Values that are no method's defaults, found under the same names in the trainer's arguments."""
LORA = LoRASettings(r=3, lora_alpha=5, lora_dropout=0.25, target_modules=("fc1",))
OBJECTIVES = [
    ("dpo", {}, {"beta": 0.3}),
    ("dpo", {}, {"loss_type": ("hinge",)}),
    ("dpo", {"loss_type": ("hinge", "sft")}, {"loss_weights": (1.5, 0.5)}),
    ("dpo", {"loss_type": "robust", "label_smoothing": 0.1}, {"label_smoothing": 0.2}),
    ("dpo", {"loss_type": "discopop"}, {"discopop_tau": 0.07}),
    ("dpo", {}, {"f_divergence_type": "js_divergence"}),
    ("dpo", {"f_divergence_type": "alpha_divergence"}, {"f_alpha_divergence_coef": 0.7}),
    ("dpo", {"loss_type": "rpo"}, {"rpo_alpha": 0.2}),
    ("dpo", {"loss_type": "flex"}, {"beta_rejected": 0.05}),
    ("dpo", {"loss_type": "dpop", "max_steps": 1}, {"dpop_lambda": 5.0}),
    ("dpo", {"loss_type": "rdpo"}, {"length_alpha": 0.05}),
    ("dpo", {"loss_type": "beta_dpo"}, {"beta_dpo_alpha": 0.3}),
    ("dpo", {"loss_type": "beta_dpo"}, {"beta_dpo_drop": 0.5}),
    ("dpo", {"loss_type": "simpo"}, {"simpo_gamma": 1.1}),
    ("dpo", {"loss_type": "cpo"}, {"cpo_alpha": 0.5}),
    ("dpo", {"loss_type": "alphapo"}, {"alphapo_alpha": 0.5}),
    ("dpo", {"loss_type": "asft"}, {"asft_lambda": 0.5}),
    ("dpo", {"loss_type": "slic"}, {"slic_delta": 3.0}),
    ("dpo", {"loss_type": "slic"}, {"slic_lambda": 0.2}),
    ("dpo", {}, {"use_weighting": True}),
    ("dpo", {"loss_type": "tdpo2"}, {"tdpo_alpha": 1.5}),
    ("kto", {}, {"beta": 0.3}),
    ("tpo", {}, {"beta": 0.3}),
    ("tpo", {}, {"tpo_alpha": 0.3}),
    ("tpo", {}, {"gold": "chosen"}),
    ("tpo", {}, {"loss_type": "tpo_l"}),
    ("tpo", {"loss_type": "tpo_l"}, {"tpo_l_gamma": 0.3}),
    ("kto", {}, {"desirable_weight": 1.2}),
    ("kto", {}, {"undesirable_weight": 1.2}),
    ("kto", {"desirable_weight": 2.0}, {"loss_type": "apo_zero_unpaired"}),
    ("reward_model", {}, {"center_rewards_coefficient": 0.01}),
    ("rloo", {}, {"epsilon": 0.05}),
    ("grpo", {}, {"epsilon": 0.05}),
    ("grpo", {}, {"epsilon_high": 0.5}),
    ("grpo", {}, {"beta": 0.3}),
    ("grpo", {}, {"importance_sampling_level": "sequence"}),
    ("grpo", {}, {"loss_type": "dr_grpo"}),
    ("ppo", {}, {"cliprange": 0.05}),
]
"""Method, settings, and one more setting that its loss heeds."""
BATCHES = {"per_device_train_batch_size", "gradient_accumulation_steps"}
"""The trainer is given their product as one batch, but for packed rows."""
ELSEWHERE = {"method", "dropout", "group_by_length", "lora", "logging_steps", "loss_on"} | {
    *("prompt_form", "input", "total_train_batch_size", "precision", "prefix_sharing", "packing"),
    *("ld_alpha", "reference", "router_aux_loss_coef", "optim"),
    *("encoding", "truncation", "max_prompt_length", "rows", "probe_pairs"),
}
"""Settings with tests of their own below."""
ONLINE = {"rloo", "grpo", "ppo"}
IN_A_ROLLOUT = {"num_generations", "steps_per_generation", "num_iterations", "beta"} | {
    *("max_kl", "max_flops", "missing_eos_penalty", "rewarded_by", "reward_weights", "sampling"),
    *("normalize_advantages", "scale_rewards", "gamma", "lam", "cliprange_value", "critic"),
    *("reward_scaling", "reward_normalization", "reward_clip"),
    *("whiten_advantages", "advantage_clip", "ptx_coef"),
}
"""Settings of methods that sample, with tests in test_online.py, test_ppo.py and the units'."""


def settings_of(name, **given):
    """Settings of a method; where it samples, samples that leave room for a prompt."""
    samples = {"sampling": {"max_new_tokens": 8}} if name in ONLINE else {}
    return METHODS.load(name).settings_type(**samples | given)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    return {
        "opt": fx.write_opt(root / "opt"),
        "judge": fx.write_scratch(root / "judge", "deberta-v2"),
    }


def build(settings, folders, root):
    from alignstudy.methods.faults import quiet_libraries
    from alignstudy.methods.loop import trl_adapter as _trl

    judge = settings.method == "reward_model"
    parent = folders["judge" if judge else "opt"]
    rows = fx.make_documents() if settings.method == "pretrain" else fx.make_triples()
    job = fx.make_job(settings, parent, root, rows=rows)
    tokenizer = load_tokenizer(parent)
    load = initial.initial_classifier if judge else initial.initial_causal_lm
    model, _ = load(parent, device="cpu", dropout=settings.dropout)
    with quiet_libraries():
        return _trl.build(job, fx.encode(job, tokenizer), model=model, tokenizer=tokenizer)


@pytest.mark.parametrize("name", [*METHODS, "packed sft"])
def test_settings_reach_the_trainers_arguments(name, folders, tmp_path):
    packing = {"packing": True} if name == "packed sft" else {}
    settings = settings_of(name.removeprefix("packed "), **COMMON, **packing)
    args = build(settings, folders, tmp_path).args
    for field, value in {**COMMON, **packing}.items():
        assert value != type(settings).model_fields[field].default, f"{field} must be changed here"
        if field not in BATCHES or packing:
            assert getattr(args, field) == value, field
    if not packing:
        rows = COMMON["per_device_train_batch_size"] * COMMON["gradient_accumulation_steps"]
        assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (rows, 1)


@pytest.mark.parametrize(("name", "settings", "more"), OBJECTIVES)
def test_settings_reach_the_loss(name, settings, more):
    plain, changed = (
        method_of(settings_of(name, **given)).objective.loss(said_of(name))
        for given in (settings, settings | more)
    )
    assert not torch.allclose(plain, changed)


def said_of(name):
    values = torch.tensor([-10.0, -9.0, -6.0])
    if name == "reward_model":
        return PairScores(chosen=values, rejected=values - 1)
    if name in ONLINE:
        new = values[:, None] / torch.tensor([40.0, 30.0, 20.0])
        old = new - torch.tensor([0.25, -0.1, 0.4])
        worth = torch.tensor([1.0, -2.0, 0.5])[:, None].expand_as(new)
        mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]]).bool()
        return SampleLogps(
            log_probs=new, mask=mask, old=old, ref=old - 0.3, advantages=worth, samples=1, more={}
        )
    return PairLogps(
        chosen=values, rejected=values - torch.tensor([2.0, 1.0, 5.0]),
        ref_chosen=values - torch.tensor([1.0, 1.0, -1.0]), ref_rejected=values - 1.5,
        chosen_tokens=values * 0 + 5, rejected_tokens=values * 0 + 7, chosen_nll=-values,
        chosen_hits=values, mismatched=values + 0.3, ref_mismatched=values,
        gold_nll=1 - values, gold_tokens=values * 0 + 6, chosen_kl=values * 0 + 1,
        rejected_kl=-values, likelihoods=-values / 20,
    )  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_no_setting_is_forgotten_here(name):
    tried = set(COMMON).union(*({**two, **more} for n, two, more in OBJECTIVES if n == name))
    elsewhere = ELSEWHERE | IN_A_ROLLOUT if name in ONLINE else ELSEWHERE
    assert set(METHODS.load(name).settings_type.model_fields) <= tried | elsewhere


def test_steps_follow_epochs_unless_given(folders, tmp_path):
    settings = METHODS.load("sft").settings_type(max_length=64, per_device_train_batch_size=4)
    three = settings.model_copy(update={"num_train_epochs": 3})
    assert build(settings, folders, tmp_path / "a").args.max_steps == 3
    assert build(three, folders, tmp_path / "b").args.max_steps == 9


def test_lora_settings_reach_peft(folders, tmp_path):
    for name in ("sft", "dpo"):
        settings = METHODS.load(name).settings_type(max_length=64, lora=LORA)
        config = build(settings, folders, tmp_path / name).model.peft_config["default"]
        for field in set(LoRASettings.model_fields) - {"load_in_4bit"}:  # of the base
            value = getattr(settings.lora, field)
            found = getattr(config, field)
            assert (found == set(value)) if isinstance(value, tuple) else (found == value), field
    assert not hasattr(
        build(METHODS.load("sft").settings_type(max_length=64), folders, tmp_path / "full").model,
        "peft_config",
    )


@pytest.mark.parametrize("name", METHODS)
def test_dropout_is_set_before_the_model_is_built(name, folders, tmp_path):
    # A policy that learns from its own samples is never noised.
    for asked, probability in (("off", 0.0), ("keep", 0.1))[: 1 if name in ONLINE else 2]:
        settings = settings_of(name, max_length=64, dropout=asked)
        model = build(
            settings.model_copy(
                update={"lora": LoRASettings(lora_dropout=0.3) if name in ("dpo", "kto") else None}
            ),
            folders,
            tmp_path / asked,
        ).model
        dropouts = {
            module.p
            for path, module in model.named_modules()
            if type(module).__name__ in {"Dropout", "StableDropout"} and "lora" not in path
        } | {
            module.dropout
            for module in model.modules()
            if type(module).__name__ == "OPTDecoderLayer"
        }
        assert max(dropouts) == pytest.approx(probability)
        if name in ("dpo", "kto"):
            assert model.get_submodule(
                "base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_dropout.default"
            ).p == pytest.approx(0.3)


def test_grouping_what_is_learnt_prompt_form_and_logging_have_their_effect(folders, tmp_path):
    sft, reward = METHODS.load("sft").settings_type, METHODS.load("reward_model").settings_type
    assert build(sft(max_length=64), folders, tmp_path / "a").lengths is None
    grouped = build(sft(max_length=64, group_by_length=True), folders, tmp_path / "b")
    assert type(grouped._get_train_sampler()).__name__ == "GroupedByLength"
    learnt = {
        loss_on: sum(
            label != IGNORED
            for row in build(
                sft(max_length=64, loss_on=loss_on), folders, tmp_path / loss_on
            ).train_dataset["labels"]
            for label in row
        )
        for loss_on in ("dialogue", "response")
    }
    assert learnt["dialogue"] > learnt["response"] > 0
    shown = {
        form: build(
            reward(max_length=64, prompt_form=form), folders, tmp_path / form
        ).train_dataset["chosen_ids"][0]
        for form in ("cue", "bare")
    }
    assert len(shown["cue"]) > len(shown["bare"])
    job = fx.make_job(
        sft(max_length=64, per_device_train_batch_size=2, logging_steps=2),
        folders["opt"],
        tmp_path / "log",
    )
    train(job)
    assert [line["step"] for line in fx.read_metrics(job.out)] == [2, 4, 5]


def test_nothing_is_reported_pushed_or_hidden(folders, tmp_path):
    args = build(METHODS.load("sft").settings_type(max_length=64), folders, tmp_path).args
    assert args.report_to == []
    assert (args.push_to_hub, args.logging_nan_inf_filter, args.save_total_limit) == (
        False,
        False,
        None,
    )
    assert (args.bf16, args.fp16, args.dataloader_num_workers) == (False, False, 0)
    assert args.use_cpu
    assert load_causal_lm(Weights(folder=folders["opt"])).dtype.is_floating_point
    with pytest.raises(Exception, match="no weights"):
        load_classifier(folders["judge"])
