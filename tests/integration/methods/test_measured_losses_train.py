"""WPO against TRL's own trainer; TDPO's reference beside the policy in every step."""

import math
from collections import defaultdict
from types import SimpleNamespace

import methods_fixtures as fx
import pytest
import torch
from trl import DPOTrainer
from trl.trainer.utils import add_fused_lm_head

from alignstudy.methods import LoRASettings, TrainingSettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards.probes import probe_batch
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.train import train
from alignstudy.methods.scoring import shared_forward, vocabulary
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Weights

SMALL = {"max_length": 64, "per_device_train_batch_size": 5, "learning_rate": 1e-3}
LORA = LoRASettings(r=2, lora_alpha=4)


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"), std=0.2)


def assembled(settings, parent, root, **changes):
    job, tokenizer = fx.make_job(settings, parent, root, **changes), load_tokenizer(parent)
    with quiet_libraries():
        return assemble(job, fx.encode(job, tokenizer), tokenizer, precision="fp32").trainer


def move_adapter(model):
    """Give an adapter an effect, the same on every model of these names."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.manual_seed(len(name))
                parameter.normal_(0, 0.3)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("theirs", [True, False], ids=["TRL's head", "our head"])
@pytest.mark.parametrize(
    "losses", [("sigmoid",), ("ipo",), ("apo_down", "nca_pair"), ("wpo",)], ids=" and ".join
)
def test_weighted_losses_and_their_gradients_are_trls(losses, theirs, opt, tmp_path, monkeypatch):
    if theirs:  # on a CPU it would be ours
        monkeypatch.setattr(shared_forward, "holds_logits", lambda *_: False)
    weighting = losses != ("wpo",)
    settings = DPOSettings(**SMALL, lora=LORA, loss_type=losses, use_weighting=weighting, beta=0.1)
    trainer = assembled(settings, opt, tmp_path)
    move_adapter(trainer.model)
    batch = probe_batch(trainer)
    said, _ = trainer.read(trainer.model, batch)
    assert said.likelihoods.max() > 1.5 * said.likelihoods.min()
    stock = SimpleNamespace(
        model=trls_model(trainer, opt), ref_model=None, accelerator=trainer.accelerator,
        args=trainer.args, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=False,
        use_weighting=True, f_divergence_type="reverse_kl", f_alpha_divergence_coef=0.5, beta=0.1,
        loss_types=["sigmoid" if name == "wpo" else name for name in losses],
        loss_weights=[1.0] * len(losses), label_smoothing=0.0,
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    trls = DPOTrainer._compute_loss(stock, stock.model, dict(batch), False)
    ours = trainer.compute_loss(trainer.model, batch)
    torch.testing.assert_close(ours, trls, rtol=1e-5, atol=1e-7)
    mine, other = gradients(trainer.model, ours), gradients(stock.model, trls)
    assert mine.keys() == other.keys()
    apart = sum(float((mine[name] - other[name]).square().sum()) for name in mine)
    length = sum(float(gradient.square().sum()) for gradient in other.values())
    assert 0 <= apart < 1e-8 * length


def trls_model(trainer, folder):
    """Return a model with the trainer's adapter and nothing of ours in it."""
    from peft import get_peft_model

    model = load_causal_lm(Weights(folder=folder), dropout=0.0)
    add_fused_lm_head(
        model, outputs=("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs")
    )
    wrapped = get_peft_model(model, trainer.model.peft_config["default"])
    move_adapter(wrapped)
    return wrapped


def test_weights_share_the_references_of_every_other_loss(opt, tmp_path):
    kept = tmp_path / "references"
    first = train(
        fx.make_job(DPOSettings(**SMALL, max_steps=2), opt, tmp_path / "1", references=kept)
    )
    wpo = DPOSettings(**SMALL, max_steps=2, loss_type="wpo")
    second = train(fx.make_job(wpo, opt, tmp_path / "2", references=kept))
    assert (first.work.reference_pairs, second.work.reference_pairs) == (10, 0)
    weights = [line["pair_weight"] for line in fx.read_metrics(tmp_path / "2" / "out")]
    assert min(weights) > 0
    loss = fx.read_metrics(tmp_path / "2" / "out")[0]["loss"]
    assert loss == pytest.approx(weights[0] * math.log(2), rel=1e-4)


def sums_by_brute_force(policy, reference, batch):
    """(2B,) sums of KL(reference || policy), each text alone, in float64."""
    found = []
    for ids, seen, scored in zip(
        *(batch[name] for name in ("input_ids", "attention_mask", "completion_mask")), strict=True
    ):
        stop = int(seen.sum())
        with torch.no_grad():
            log_p, ref = (
                model(input_ids=ids[None, :stop]).logits[0, :-1].double().log_softmax(1)
                for model in (policy, reference)
            )
        found.append(float(((ref.exp() * (ref - log_p)).sum(1) * scored[1:stop]).sum()))
    return found


@pytest.mark.parametrize("kind", ["full", "lora", "start", "start lora"])
def test_distances_are_from_the_reference_that_was_asked_for(kind, opt, tmp_path):
    other = fx.write_opt(tmp_path / "start", seed=1)
    settings = DPOSettings(
        **SMALL,
        loss_type="tdpo2",
        lora=LORA if "lora" in kind else None,
        reference="start" if "start" in kind else "parent",
    )
    reference = other if "start" in kind else None
    trainer = assembled(settings, opt, tmp_path, reference=reference)
    model = trainer.model
    move_adapter(model)
    if "lora" not in kind:
        with torch.no_grad():
            model.model.decoder.layers[0].fc1.weight.mul_(1.3)
    batch = probe_batch(trainer)
    with torch.no_grad():
        said, _ = trainer.read(model.eval(), batch)
    asked = load_causal_lm(Weights(folder=reference or opt), dropout=0.0)
    truth = sums_by_brute_force(model, asked, batch)
    assert [*said.chosen_kl.tolist(), *said.rejected_kl.tolist()] == pytest.approx(truth, rel=1e-4)
    assert min(truth) > 1e-3
    assert (trainer.reference is None) == (kind == "lora")


@pytest.mark.parametrize(
    ("loss", "lora", "precision"),
    [
        ("tdpo1", LORA, "fp32"),
        ("tdpo1", None, "bf16"),
        ("tdpo2", LORA, "bf16"),
        ("tdpo2", None, "fp32"),
    ],
)
def test_a_training_starts_at_its_reference_and_goes_away_from_it(
    loss, lora, precision, opt, tmp_path
):
    settings = DPOSettings(
        **SMALL, loss_type=loss, lora=lora, num_train_epochs=3, precision=precision
    )
    result = train(fx.make_job(settings, opt, tmp_path))
    guards = {outcome.guard: outcome.passed for outcome in result.guards}
    assert guards["reference_is_parent"]
    assert "references_are_fresh" not in guards  # none are kept
    assert (result.work.reference_pairs, result.work.reference_reused) == (30, 0)
    curve = fx.read_metrics(tmp_path / "out")
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert curve[0]["kl_chosen"] == curve[0]["kl_rejected"] == 0
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["kl_rejected"] > 0


def test_a_reference_that_moved_is_refused(opt, tmp_path, monkeypatch):
    from alignstudy.errors import GuardError
    from alignstudy.methods.loop import trl_adapter

    known = trl_adapter.reference_model

    def moved(trainer, model):
        with torch.no_grad():
            model.model.decoder.layers[0].fc1.weight.mul_(1.05)
        return known(trainer, model)

    monkeypatch.setattr(trl_adapter, "reference_model", moved)
    settings = DPOSettings(**SMALL, loss_type="tdpo1", max_steps=1)
    with pytest.raises(GuardError, match="reference is not the model that training starts from"):
        train(fx.make_job(settings, opt, tmp_path))


def test_weights_that_are_drawn_are_drawn_alike_for_the_reference(tmp_path):
    scratch = fx.write_scratch(tmp_path / "scratch")
    settings = DPOSettings(**SMALL, loss_type="tdpo1", max_steps=2)
    train(fx.make_job(settings, scratch, tmp_path / "job"))
    assert fx.read_metrics(tmp_path / "job" / "out")[0]["kl_chosen"] == 0


def test_a_vocabulary_in_parts_trains_the_same_but_for_rounding(opt, tmp_path, monkeypatch):
    settings = DPOSettings(**SMALL, loss_type="tdpo2", max_steps=3)
    train(fx.make_job(settings, opt, tmp_path / "whole"))
    monkeypatch.setattr(vocabulary, "MOST_LOGITS_AT_ONCE", 2000)
    train(fx.make_job(settings, opt, tmp_path / "parts"))
    whole, parts = (fx.read_metrics(tmp_path / name / "out")[-1] for name in ("whole", "parts"))
    assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    assert parts["kl_chosen"] == pytest.approx(whole["kl_chosen"], rel=1e-4)
    assert parts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)


def test_other_losses_ask_for_nothing_of_it(opt, tmp_path, monkeypatch):
    """Neither sums of squares nor distances are computed where no loss takes them."""
    asked = []
    forward = shared_forward.score_targets
    monkeypatch.setattr(
        shared_forward,
        "score_targets",
        lambda *given, squares, **more: asked.append(squares) or forward(*given, **more),
    )
    settings: TrainingSettings = DPOSettings(**SMALL, max_steps=1)
    train(fx.make_job(settings, opt, tmp_path))
    assert asked
    assert not any(asked)
