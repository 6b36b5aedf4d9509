"""Every guard, provoked on a real tiny model through the real trainer."""

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import methods_fixtures as fx
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from alignstudy.errors import GuardError, InputError
from alignstudy.methods import LoRASettings, method_of
from alignstudy.methods.batches.encode import (
    encode_dialogues,
    encode_preferences,
)
from alignstudy.methods.batches.judgements import encode_judgements
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.guards.checks import reference_is_parent
from alignstudy.methods.guards.probes import dropout_difference, first_preferences, probe_batch
from alignstudy.methods.loop import assembly
from alignstudy.methods.loop.preview import preview
from alignstudy.methods.loop.train import train
from alignstudy.methods.losses import LOSSES
from alignstudy.methods.reward_model import RewardModelSettings, judge_texts
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.weights import initial
from alignstudy.models.encoders.pairs import PairEncoder
from alignstudy.models.load import load_causal_lm
from alignstudy.models.rendering import rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Prompt, Weights

SMALL = {"max_length": 64, "per_device_train_batch_size": 5}
LORA = LoRASettings(r=2, lora_alpha=4)


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


def run(settings, parent, root, **changes):
    return train(fx.make_job(settings, parent, root, **changes))


def build(settings, parent, root, *, dropout=0.0, **changes):
    """Build a trainer as training does, without its guards."""
    from alignstudy.methods.faults import quiet_libraries
    from alignstudy.methods.loop import trl_adapter as _trl

    job = fx.make_job(settings, parent, root, **changes)
    tokenizer = load_tokenizer(parent)
    model = load_causal_lm(Weights(folder=parent), dropout=dropout)
    encoded = fx.encode(job, tokenizer)
    with quiet_libraries():
        return _trl.build(job, encoded, model=model, tokenizer=tokenizer)


def test_first_loss_of_every_kind_is_what_it_is_at_margin_0(opt, tmp_path):
    trainer = build(DPOSettings(**SMALL, lora=LORA), opt, tmp_path)
    for name, loss in LOSSES.items():
        if loss.needs_reference and loss.method == "dpo":
            ask(trainer, name)
            found, said = first_preferences(trainer, training=True)
            objective = trainer.objective.loss
            assert reference_is_parent(found, said, objective=objective, beta=0.1).passed, name


def ask(trainer, loss, **options):
    """Have a trainer compute another loss."""
    smoothing = {"label_smoothing": 0.1} if "label_smoothing" in LOSSES[loss].needs else {}
    names = ("sigmoid", "sft") if loss == "sft" else (loss,)
    steps = {"max_steps": 1} if "max_steps" in LOSSES[loss].needs else {}
    settings = DPOSettings(**SMALL, lora=LORA, loss_type=names, **smoothing, **steps, **options)
    trainer.method = method_of(settings)
    trainer.objective = trainer.method.objective
    return settings


def test_guards_of_a_run_with_two_losses_and_full_weights(opt, tmp_path):
    settings = DPOSettings(**SMALL, loss_type=("ipo", "sft"), loss_weights=(1, 0.5), max_steps=1)
    passed = {outcome.guard: outcome.passed for outcome in run(settings, opt, tmp_path).guards}
    named = ("template", "dropout_is_off", "end_is_learnt", "log_probs_are_the_models")
    named += ("reference_is_parent", "references_are_fresh", "loss_is_formula")
    assert passed == dict.fromkeys(named, True)


def test_a_loss_without_reference_that_is_not_its_formula_is_refused(opt, tmp_path, monkeypatch):
    from alignstudy.methods.loop import trl_adapter as _trl

    plain = _trl._LM.compute_loss
    monkeypatch.setattr(
        _trl._LM, "compute_loss", lambda self, *given, **more: 1.02 * plain(self, *given, **more)
    )
    settings = DPOSettings(**SMALL, loss_type="simpo", max_steps=1)
    with pytest.raises(GuardError, match="the trainer's loss is not what its formula gives"):
        run(settings, opt, tmp_path)


def test_every_loss_is_trls_away_from_the_start(opt, tmp_path):
    """Of TRL's own trainer, on the same log-probabilities: to the bit, or within rounding."""
    trainer = build(DPOSettings(**SMALL, lora=LORA), opt, tmp_path)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(len(name))
                parameter.normal_(0, 0.3)
    batch, equal = probe_batch(trainer), {}
    for name in [name for name in LOSSES if name in TRLS]:
        divergences = ["reverse_kl"]
        if "f" in LOSSES[name].heeds:
            divergences += ["forward_kl", "js_divergence", "alpha_divergence"]
        for divergence in divergences:
            settings = ask(trainer, name, f_divergence_type=divergence)
            with torch.no_grad():
                said, _ = trainer.read(trainer.model, batch)
                assert float(said.a.abs().max()) > 0.1
                ours = trainer.objective.loss(said).mean()
                theirs = trls_loss(trainer, batch, settings)
            assert float(ours) == pytest.approx(theirs, rel=1e-6, abs=1e-7), (name, divergence)
            equal[name, divergence] = float(ours) == theirs
    assert sum(equal.values()) > len(equal) / 2


TRLS = {
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot"),
    *("aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
}


def trls_loss(trainer, batch, settings):
    """What `DPOTrainer._compute_loss` makes of a model's log-probabilities."""
    from collections import defaultdict

    from trl import DPOTrainer

    stock = SimpleNamespace(
        model=trainer.model, ref_model=None, accelerator=trainer.accelerator, args=trainer.args,
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=False, use_weighting=False,
        f_divergence_type=settings.f_divergence_type, beta=settings.beta,
        f_alpha_divergence_coef=settings.f_alpha_divergence_coef,
        loss_types=list(settings.loss_type), loss_weights=[1.0] * len(settings.loss_type),
        label_smoothing=settings.label_smoothing, _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    stock.args.discopop_tau = settings.discopop_tau
    return float(DPOTrainer._compute_loss(stock, trainer.model, dict(batch), False))


@pytest.mark.parametrize("lora", [LORA, None])
def test_a_policy_that_is_not_its_reference_is_refused(lora, opt, tmp_path, monkeypatch):
    load = initial.initial_causal_lm

    def moved(folder, **given):
        model, note = load(folder, **given)
        with torch.no_grad():
            model.model.decoder.layers[0].fc1.weight.mul_(1.05)
        return model, note

    settings = DPOSettings(**SMALL, lora=lora, max_steps=1)
    if lora is None:
        monkeypatch.setattr(assembly, "initial_causal_lm", moved)
    else:
        from peft.tuners.lora import LoraLayer

        reset = LoraLayer.reset_lora_parameters

        def not_zero(self, name, *given, **more):
            reset(self, name, *given, **more)
            torch.nn.init.normal_(self.lora_B[name].weight)

        monkeypatch.setattr(LoraLayer, "reset_lora_parameters", not_zero)
    with pytest.raises(GuardError, match="reference is not the model that training starts from"):
        run(settings, opt, tmp_path)


def test_functional_dropout_that_was_not_switched_off_is_refused(opt, tmp_path, monkeypatch):
    load = initial.load_causal_lm
    monkeypatch.setattr(
        initial, "load_causal_lm", lambda weights, *, device, **_: load(weights, device=device)
    )
    with pytest.raises(GuardError, match="dropout is off, yet two training passes differ"):
        run(DPOSettings(**SMALL, lora=LORA, max_steps=1), opt, tmp_path)


def test_dropout_kept_on_purpose_is_told_and_really_on(opt, tmp_path):
    result = run(DPOSettings(**SMALL, lora=LORA, dropout="keep", max_steps=2), opt, tmp_path)
    outcome = next(g for g in result.guards if g.guard == "dropout_is_off")
    assert not outcome.passed
    assert "dropout: keep" in outcome.detail
    first = fx.read_metrics(tmp_path / "out")[0]
    assert abs(first["loss"] - math.log(2)) > 1e-6


def test_probes_leave_random_numbers_and_weights_alone(opt, tmp_path):
    trainer = build(DPOSettings(**SMALL, lora=LORA, dropout="keep"), opt, tmp_path, dropout=None)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert dropout_difference(trainer.model, probe_batch(trainer)) > 0
    first_preferences(trainer, training=True)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(trainer._metrics["train"].values())


def test_a_collator_that_loses_the_end_is_refused(opt, tmp_path, monkeypatch):
    from alignstudy.methods.loop import trl_adapter as _trl

    plain = _trl.SFTCollator.torch_call

    def lossy(self, examples):
        batch = plain(self, examples)
        batch["labels"][batch["input_ids"] == 2] = -100
        return batch

    monkeypatch.setattr(_trl.SFTCollator, "torch_call", lossy)
    with pytest.raises(GuardError, match="8 of 8 rows don't teach the end"):
        run(SFTSettings(**SMALL), opt, tmp_path)


def ends_every_text(opt, folder, token="</s>"):
    """Copy a model folder; its tokenizer appends a token to every text."""
    shutil.copytree(opt, folder)
    tokenizer = load_tokenizer(folder)
    template = f"</s> $A {token}"
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in {"</s>", token}]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, pair=f"{template} $B", special_tokens=special
    )
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    assert load_tokenizer(folder)("a")["input_ids"][-1] == dict(special)[token]
    return folder


@pytest.mark.parametrize("token", ["</s>", "<pad>"])
def test_a_tokenizer_that_ends_every_text_is_refused_in_training_and_generation(
    token, opt, tmp_path
):
    from alignstudy.generation import GenerationSettings, generate

    folder = ends_every_text(opt, tmp_path / "ending", token)
    words = f"ends every text itself, with {token}"
    for loss_on in ("dialogue", "response"):
        settings = SFTSettings(**SMALL, loss_on=loss_on)
        with pytest.raises(GuardError, match=words):
            run(settings, folder, tmp_path / loss_on)
        with pytest.raises(GuardError, match=words):
            preview(fx.make_job(settings, folder, tmp_path / "preview"))
    prompt = Prompt(id="p", axis="harmless", text=fx.make_pairs(1)[0].prompt)
    with pytest.raises(GuardError, match=words) as caught:
        generate(
            Weights(folder=folder), [prompt], GenerationSettings(max_new_tokens=2),
            protocol="paper", device="cpu", seed=0,
        )  # fmt: skip
    assert "add_eos_token: false" in caught.value.hint


def test_prompt_and_response_are_tokenized_apart_where_a_token_would_reach_across(opt, tmp_path):
    folder = tmp_path / "merging"
    shutil.copytree(opt, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    model = tokenizer["model"]
    # ":!" becomes one token, in the place of the last that was merged.
    unused = max(model["vocab"], key=model["vocab"].get)
    model["merges"] = [m for m in model["merges"] if unused not in (*m, "".join(m))]
    model["vocab"][":!"] = model["vocab"].pop(unused)
    model["merges"].append([":", "!"])
    file.write_text(json.dumps(tokenizer))
    rows = fx.make_pairs()
    merged = [replace(row, chosen=f"!{row.chosen}") for row in rows]
    settings = SFTSettings(**SMALL, max_steps=1)
    result = run(settings, folder, tmp_path / "some", rows=[*merged[:3], *rows[3:]])
    assert result.counts["merged_at_border"] == 3
    assert any("in 3 of 10 rows a token would reach across" in note for note in result.notes)
    tokenizer = load_tokenizer(folder)
    encoded = fx.encode(fx.make_job(settings, folder, tmp_path / "job", rows=merged), tokenizer)
    for row, ids, labels in zip(merged, *encoded.columns.values(), strict=True):
        asked = tokenizer(row.prompt)["input_ids"]
        assert ids[: len(asked)] == asked  # what generation will ask
        assert labels[: len(asked)] == [-100] * len(asked)
        assert tokenizer.decode(ids[len(asked) :]) == f"{row.chosen}</s>"


def test_each_lora_target_must_be_a_layer_of_the_model(opt, tmp_path):
    for targets, unknown in [
        (("q_proj", "v_projj"), "v_projj"),
        (("proj",), "proj"),  # the end of a name, but not after a dot
        (("q_proj", "self_attn"), "self_attn"),  # holds layers, is none
    ]:
        lora = LoRASettings(r=2, lora_alpha=4, target_modules=targets)
        settings = DPOSettings(**SMALL, lora=lora, max_steps=1)
        with pytest.raises(
            InputError, match=f"target_modules: unknown layer '{unknown}'"
        ) as caught:
            run(settings, opt, tmp_path / unknown)
        if unknown == "v_projj":
            assert caught.value.hint == "did you mean 'v_proj'?"
    targets = ("layers.0.self_attn.q_proj", "model.decoder.layers.1.fc1", "fc2")
    settings = DPOSettings(**SMALL, lora=LORA.model_copy(update={"target_modules": targets}))
    run(settings.model_copy(update={"max_steps": 1}), opt, tmp_path / "named")
    adapted = {name.rpartition(".lora_")[0] for name in fx.weights_of(tmp_path / "named" / "out")}
    assert len(adapted) == 1 + 1 + 2


def test_packing_is_refused_where_documents_mix_and_done_where_they_do_not(opt, tmp_path):
    settings = SFTSettings(**SMALL, packing=True, learning_rate=1e-3)
    with pytest.raises(GuardError, match="OPTForCausalLM reads across the documents"):
        run(settings, opt, tmp_path / "opt")
    llama = fx.write_llama(tmp_path / "llama", tokenizer_from=opt)
    result = run(settings, llama, tmp_path / "packed")
    apart = next(g for g in result.guards if g.guard == "documents_are_kept_apart")
    assert apart.passed
    plain = run(settings.model_copy(update={"packing": False}), llama, tmp_path / "plain")
    assert result.num_tokens == plain.num_tokens
    assert result.steps == 1 < plain.steps


@pytest.mark.parametrize("what", ["loss", "gradient norm"])
def test_non_finite_values_stop_at_their_step_with_the_rows_of_all_micro_batches(
    what, opt, tmp_path, monkeypatch
):
    from alignstudy.methods.loop import trl_adapter as _trl

    settings = SFTSettings(
        max_length=64, per_device_train_batch_size=2, gradient_accumulation_steps=2, save_steps=1
    )
    plain, seen = _trl._LM.loss_of, []

    def poisoned(self, model, inputs, *given):
        loss, figures = plain(self, model, inputs, *given)
        if not torch.is_grad_enabled():  # a guard's measurement
            return loss, figures
        seen.append(inputs["input_ids"].clone())
        if len(seen) < 4:  # the second micro-batch of step 2
            return loss, figures
        lost = loss * float("nan") if what == "loss" else _InfiniteGradient.apply(loss)
        return lost, figures

    monkeypatch.setattr(_trl._LM, "loss_of", poisoned)
    with pytest.raises(GuardError, match=f"the {what} is (nan|inf) in step 2") as caught:
        run(settings, opt, tmp_path)
    assert caught.value.kept == "the checkpoint of step 1"
    assert (tmp_path / "work" / "checkpoint-1" / "COMPLETE.json").is_file()
    assert not (tmp_path / "work" / "checkpoint-2").exists()
    tokenizer = load_tokenizer(opt)
    texts = {p.id: p.prompt + p.chosen for p in fx.make_pairs()}
    read = [tokenizer.decode(ids, skip_special_tokens=True) for b in seen[2:4] for ids in b]
    named = caught.value.why.removeprefix("the step's rows are ").split(", ")
    assert [texts[row] for row in named] == read


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * float("inf")


def test_our_encoding_is_what_the_trainer_itself_would_have_made(opt, tmp_path):
    import datasets
    from trl import DPOTrainer, SFTTrainer

    tokenizer = load_tokenizer(opt)
    rows = fx.make_pairs()
    trainer = build(DPOSettings(**SMALL, lora=LORA), opt, tmp_path)
    texts = {
        "prompt": [p.prompt for p in rows],
        "chosen": [p.chosen for p in rows],
        "rejected": [p.rejected for p in rows],
    }
    trainer._is_vision_dataset = False
    theirs = DPOTrainer._prepare_dataset(
        trainer, datasets.Dataset.from_dict(texts), tokenizer, trainer.args, "train"
    )
    ours = encode_preferences(rows, rendering_of(tokenizer), max_length=64).columns
    for name, values in ours.items():
        assert values == theirs[name], name
    sft = build(SFTSettings(**SMALL), opt, tmp_path)
    texts["completion"] = texts.pop("chosen")
    del texts["rejected"]
    sft.completion_only_loss = True
    theirs = SFTTrainer._prepare_dataset(
        sft, datasets.Dataset.from_dict(texts), tokenizer, sft.args, False, None, "train"
    )
    ours = encode_dialogues(
        rows, rendering_of(tokenizer), max_length=64, loss_on="response"
    ).columns
    assert ours["input_ids"] == theirs["input_ids"]
    assert ours["labels"] == theirs["labels"]


def test_a_judge_is_trained_on_the_encoding_it_is_asked_with(tmp_path):
    folder = fx.write_scratch(tmp_path, "deberta-v2")
    tokenizer = load_tokenizer(folder)
    rows = [(p.id, *judge_texts(p, "cue")) for p in fx.make_pairs(4)]
    columns = encode_judgements(rows, PairEncoder(tokenizer, 64)).columns
    for at, (_, prompt, chosen, rejected) in enumerate(rows):
        assert columns["chosen_ids"][at] == tokenizer(prompt, chosen)["input_ids"]
        assert columns["rejected_ids"][at] == tokenizer(prompt, rejected)["input_ids"]
    whole = columns["chosen_ids"][0]
    cut = encode_judgements(rows[:1], PairEncoder(tokenizer, len(whole) - 3))
    assert cut.counts["truncated"] == 1
    assert cut.columns["chosen_ids"][0] == [whole[0], *whole[4:]]
    two_turns = "\n\nHuman: Old.\n\nAssistant: Yes." + rows[0][1]
    cut = encode_judgements([("x", two_turns, *rows[0][2:])], PairEncoder(tokenizer, len(whole)))
    assert cut.columns["chosen_ids"][0] == whole
    assert cut.counts["truncated"] == 1


def test_preview_shows_tokens_and_mask_as_collated_without_reading_weights(opt, tmp_path):
    bare = fx.write_scratch(tmp_path / "bare")
    pair = fx.make_pairs(1)[0]
    shown = {
        name: preview(fx.make_job(settings, bare, tmp_path / name)).examples
        for name, settings in {
            "response": SFTSettings(max_length=64),
            "dialogue": SFTSettings(max_length=64, loss_on="dialogue"),
            "dpo": DPOSettings(max_length=64),
        }.items()
    }
    assert [e.row_id for e in shown["response"]] == [f"small/train:{i}" for i in (1, 2, 3)]
    assert [e.part for e in shown["dpo"]] == ["chosen", "rejected"] * 3
    first = shown["response"][0]
    assert "".join(first.tokens) == f"</s>{pair.prompt}{pair.chosen}</s>"
    learnt = "".join(t for t, seen in zip(first.tokens, first.in_loss, strict=True) if seen)
    assert learnt == f"{pair.chosen}</s>"
    first, *others = shown["dialogue"][0].in_loss
    assert not first  # nothing comes before it
    assert all(others)
    rejected = shown["dpo"][1]
    learnt = "".join(t for t, seen in zip(rejected.tokens, rejected.in_loss, strict=True) if seen)
    assert learnt == f"{pair.rejected}</s>"
    judge = fx.write_scratch(tmp_path / "judge", "deberta-v2")
    settings = RewardModelSettings(max_length=64)
    example = preview(fx.make_job(settings, judge, tmp_path / "rm")).examples[0]
    assert "".join(example.tokens) == f"[CLS]{pair.prompt}[SEP]{pair.chosen.strip()}[SEP]"
    assert all(example.in_loss)
