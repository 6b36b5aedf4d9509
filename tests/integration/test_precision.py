"""Mixed precision must prove itself, and the proof must leave no trace."""

import math
from contextlib import nullcontext
from dataclasses import replace

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import GuardError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.guards import precision
from alignstudy.methods.guards.precision import (
    CURVE_TOLERANCE,
    GRADIENT_TOLERANCE,
    Curve,
    curve_distance,
    curves_agree,
    gradient_distance,
    pick_precision,
    precision_gate,
    train_and_undo,
)
from alignstudy.methods.loop import train as training
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.quiet import quiet_libraries
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.sft import SFTSettings
from alignstudy.models.tokenizers import load_tokenizer

SMALL = {"max_length": 64, "per_device_train_batch_size": 4, "max_steps": 3, "learning_rate": 1e-3}
KINDS = {
    "dpo": DPOSettings(**SMALL, lora=LoRASettings(r=2, lora_alpha=4)),
    "dpo of full weights": DPOSettings(**SMALL, dropout="off"),
    "sft": SFTSettings(**SMALL),
    "sft of responses": SFTSettings(**SMALL, loss_on="response", dropout="off"),
    "pretrain": PretrainSettings(**SMALL),
    "reward model": RewardModelSettings(**SMALL),
}


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    """A tiny OPT that drops units in training, as the published models do."""
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


def build(settings, parent, root):
    changes = {"rows": fx.make_documents()} if settings.method == "pretrain" else {}
    job = fx.make_job(settings, parent, root, **changes)
    tokenizer = load_tokenizer(parent)
    with quiet_libraries():
        encoded = training.encode(job, tokenizer)
        return assemble(job, encoded, tokenizer, precision="fp32").trainer


def spoil(trainer, *, under_autocast):
    """Let a trainer's loss be another one under autocast only."""
    honest = trainer.compute_loss

    def compute_loss(model, batch, **given):
        loss = honest(model, batch, **given)
        return under_autocast(loss) if torch.is_autocast_enabled("cpu") else loss

    trainer.compute_loss = compute_loss


def traces(trainer):
    """Everything that the gate must leave as it was."""
    model = trainer.model
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": [weight.grad for weight in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "random": torch.random.get_rng_state(),
        "metrics": [dict(found) for found in trainer._metrics.values()],
        "tokens": trainer._total_train_tokens,
        "grows": [weight.requires_grad for weight in model.parameters()],
    }


def assert_same_traces(found, expected):
    for name, value in expected["weights"].items():
        assert found["weights"][name].equal(value), name
    assert found["random"].equal(expected["random"])
    for name in ("gradients", "modes", "metrics", "tokens", "grows"):
        assert found[name] == expected[name], name


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_model_passes_and_nothing_is_left_of_it(opt, tmp_path, kind):
    trainer = build(KINDS[kind], opt, tmp_path)
    trainer.model.train()
    next(trainer.model.children()).eval()  # a mixture of modes is kept, too
    before = traces(trainer)
    picked, outcome = precision_gate(trainer, "bf16", device="cpu")
    assert picked == "bf16"
    assert outcome.passed
    assert "8 steps" in outcome.detail
    assert_same_traces(traces(trainer), before)


def test_the_two_curves_really_are_in_two_precisions(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)
    exact, rounded = (train_and_undo(trainer, 8, bf16=b, device="cpu") for b in (False, True))
    again = train_and_undo(trainer, 8, bf16=False, device="cpu")
    assert again.losses == exact.losses
    assert exact.losses[-1] < exact.losses[0] - 0.1  # it learns
    assert all(one != other for one, other in zip(exact.losses, rounded.losses, strict=True))
    assert 1e-4 < gradient_distance(exact, rounded) < GRADIENT_TOLERANCE
    assert gradient_distance(exact, again) == 0
    assert {gradient.dtype for gradient in rounded.gradient} == {torch.float32}  # master weights


def test_a_curve_is_what_the_optimizer_makes_of_the_first_rows(opt, tmp_path):
    """Against a plain loop on a second trainer, whose steps aren't undone."""
    curve = train_and_undo(build(KINDS["sft"], opt, tmp_path / "a"), 8, bf16=False, device="cpu")
    trainer = build(KINDS["sft"], opt, tmp_path / "b")
    model = trainer.model.eval()
    rows = [trainer.train_dataset[row] for row in range(8)]
    batch = {k: v for k, v in trainer.data_collator(rows).items() if k != "row"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for expected in curve.losses:
        loss = model(**batch).loss
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_training_after_the_gate_gives_the_same_bytes_as_without_it(opt, tmp_path, kind):
    from transformers import set_seed

    trained = []
    for gated in (True, False):
        trainer = build(KINDS[kind], opt, tmp_path / str(gated))
        with quiet_libraries():
            set_seed(0)
            if gated:
                assert precision_gate(trainer, "bf16", device="cpu", steps=2)[0] == "bf16"
            trainer.train()
        log = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        trained.append((trainer.model.state_dict(), log))
    (ours, our_log), (theirs, their_log) = trained
    assert len(our_log) == 3
    assert our_log == their_log
    assert all(ours[name].equal(value) for name, value in theirs.items())


@pytest.mark.parametrize(
    ("under_autocast", "said"),
    [
        (lambda loss: loss * 1.05, "apart"),
        (lambda loss: loss.detach() + 0 * loss, "first gradients 1 "),
        (lambda loss: loss * math.nan, "inf apart"),
        (lambda loss: loss * math.inf, "inf apart"),
    ],
    ids=["off", "gradient lost", "nan", "inf"],
)
def test_a_bad_mixed_precision_is_refused_or_left_alone(opt, tmp_path, under_autocast, said):
    """The learning rate is so low that no lost gradient shows in a loss."""
    trainer = build(KINDS["dpo"].model_copy(update={"learning_rate": 1e-9}), opt, tmp_path)
    spoil(trainer, under_autocast=under_autocast)
    before = traces(trainer)
    with pytest.raises(GuardError, match="bf16") as caught:
        precision_gate(trainer, "bf16", device="cpu", steps=2)
    assert said in caught.value.why
    assert "precision: fp32" in caught.value.hint
    assert_same_traces(traces(trainer), before)


def test_auto_falls_back_to_float32_and_says_so(opt, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "pick_precision", lambda *_: "bf16")
    trainer = build(KINDS["sft"], opt, tmp_path)
    spoil(trainer, under_autocast=lambda loss: loss + 1)
    before = traces(trainer)
    picked, outcome = precision_gate(trainer, "auto", device="cpu", steps=2)
    assert picked == "fp32"
    assert not outcome.passed
    assert outcome.guard == "bf16_follows_fp32"
    assert outcome.detail.endswith("trained in fp32")
    assert_same_traces(traces(trainer), before)


def test_a_model_whose_products_bfloat16_cannot_hold_is_refused(tmp_path):
    """No planted fault: weights so widely spread that logits are in the hundreds."""
    wild = fx.write_opt(tmp_path / "opt", std=2.0)
    trainer = build(KINDS["sft"], wild, tmp_path)
    with pytest.raises(GuardError, match="leaves what float32 does"):
        precision_gate(trainer, "bf16", device="cpu")


def test_an_error_in_a_step_leaves_no_trace_either(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)
    calls = []

    def fail(loss):
        calls.append(loss)
        if len(calls) == 3:
            raise KeyError
        return loss

    spoil(trainer, under_autocast=fail)
    before = traces(trainer)
    with pytest.raises(KeyError):
        precision_gate(trainer, "bf16", device="cpu")
    assert_same_traces(traces(trainer), before)


def test_random_numbers_and_buffers_that_a_loss_uses_up_are_given_back(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)
    trainer.model.register_buffer("passes", torch.zeros(2))
    honest, drawn = trainer.compute_loss, []

    def compute_loss(model, batch, **given):
        model.passes += 1
        drawn.append(float(torch.rand(())))
        return honest(model, batch, **given)

    trainer.compute_loss = compute_loss
    before = traces(trainer)
    precision_gate(trainer, "bf16", device="cpu", steps=2)
    assert_same_traces(traces(trainer), before)
    assert len(drawn) == 4
    assert drawn[:2] == drawn[2:]  # the same noise in both precisions


def test_fewer_rows_are_compared_where_memory_runs_out(opt, tmp_path):
    trainer = build(KINDS["dpo"], opt, tmp_path)
    honest, rows = trainer.compute_loss, []

    def compute_loss(model, batch, **given):
        rows.append(len(batch["input_ids"]) // 2)
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(model, batch, **given)

    trainer.compute_loss = compute_loss
    assert precision_gate(trainer, "bf16", device="cpu", steps=2)[0] == "bf16"
    assert rows == [8, 4, 2, 2, 2, 2]


def test_out_of_memory_with_one_row_is_said(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)

    def compute_loss(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.compute_loss = compute_loss
    with pytest.raises(torch.OutOfMemoryError):
        precision_gate(trainer, "bf16", device="cpu")


@pytest.mark.parametrize("asked", ["auto", "fp32"])
def test_on_a_cpu_float32_is_taken_unmeasured(asked):
    assert precision_gate(None, asked, device="cpu") == ("fp32", None)


@pytest.mark.parametrize(("native", "picked"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_where_a_gpu_computes_it_itself(monkeypatch, native, picked):
    asked = []

    def supported(**given):
        asked.append(given)
        return native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    assert pick_precision("auto", "cuda:0") == picked
    assert asked == [{"including_emulation": False}]
    assert pick_precision("bf16", "cuda") == "bf16"
    assert pick_precision("fp32", "cuda") == "fp32"


def test_distances_of_curves():
    def run_of(exact, rounded):
        return lambda bf16: rounded if bf16 else exact

    assert curve_distance(run_of([3.0, 2.0], [3.0, 2.0])) == 0
    assert curve_distance(run_of([4.0, 2.0], [4.0, 2.4])) == pytest.approx(0.1)
    assert curve_distance(run_of([0.5, 0.4], [0.5, 0.3])) == pytest.approx(0.1)  # of 1, not of 0.5
    assert curve_distance(run_of([1.0, math.nan], [1.0, 1.0])) == math.inf
    assert curve_distance(run_of([1.0, 1.0], [1.0, -math.inf])) == math.inf


def curve(*gradient):
    return Curve(losses=(1.0,), gradient=tuple(map(torch.tensor, gradient)), rows=1)


def test_distances_of_gradients():
    exact = curve([3.0, 0.0], [[4.0]])
    assert gradient_distance(exact, exact) == 0
    assert gradient_distance(exact, curve([3.0, 0.0], [[4.5]])) == pytest.approx(0.1)
    assert gradient_distance(exact, curve([0.0, 0.0], [[0.0]])) == 1
    assert gradient_distance(exact, curve([math.nan, 0.0], [[4.0]])) == math.inf
    assert gradient_distance(exact, curve([math.inf, 0.0], [[4.0]])) == math.inf
    assert gradient_distance(curve([0.0]), curve([0.0])) == 0
    assert gradient_distance(curve([0.0]), curve([1e-9])) == math.inf


@pytest.mark.parametrize(
    ("distance", "gradients", "passed"),
    [
        (CURVE_TOLERANCE, GRADIENT_TOLERANCE, True),
        (CURVE_TOLERANCE * 1.01, 0.0, False),
        (0.0, GRADIENT_TOLERANCE * 1.01, False),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
    ],
)
def test_both_distances_must_be_within_their_tolerance(distance, gradients, passed):
    found = curves_agree(distance, gradients, fp32=[1.0], bf16=[1.0], asked="auto")
    assert found.passed == passed


def test_a_study_that_asks_for_bf16_says_how_it_was_proved(opt, tmp_path):
    settings = KINDS["dpo"].model_copy(update={"precision": "bf16", "max_steps": 1})
    job = fx.make_job(settings, opt, tmp_path)
    outcomes = {outcome.guard: outcome for outcome in training.train(job).guards}
    assert outcomes["bf16_follows_fp32"].passed
    plain = training.train(replace(job, settings=KINDS["dpo"], out=tmp_path / "plain", digest="d1"))
    assert "bf16_follows_fp32" not in {outcome.guard for outcome in plain.guards}
