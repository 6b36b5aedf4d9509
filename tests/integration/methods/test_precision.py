"""Mixed precision must prove itself on the first rows, or float32 is used."""

import math
from contextlib import nullcontext
from dataclasses import replace

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import GuardError, InputError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards import precision
from alignstudy.methods.guards.precision import (
    CURVE_TOLERANCE,
    GRADIENT_TOLERANCE,
    curves_agree,
    pick_precision,
    precision_gate,
)
from alignstudy.methods.loop import train as training
from alignstudy.methods.loop.assembly import assemble
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
        encoded = fx.encode(job, tokenizer)
        return assemble(job, encoded, tokenizer, precision="fp32").trainer


def spoil(trainer, *, under_autocast):
    """Let a trainer's loss be another one under autocast only."""
    honest = trainer.compute_loss

    def compute_loss(model, batch, **given):
        loss = honest(model, batch, **given)
        return under_autocast(loss) if torch.is_autocast_enabled("cpu") else loss

    trainer.compute_loss = compute_loss


@pytest.mark.parametrize("asked", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_model_passes(opt, tmp_path, kind, asked):
    outcome = precision_gate(build(KINDS[kind], opt, tmp_path), asked)
    assert outcome.passed
    assert outcome.guard == f"{asked}_follows_fp32"
    assert "8 steps" in outcome.detail


def test_float16_keeps_more_of_a_gradient_than_bfloat16(opt, tmp_path, monkeypatch):
    """Of its 11 bits against 8; the scale keeps small gradients from vanishing."""
    apart = []
    for asked in ("bf16", "fp16"):
        (_, exact), (_, rounded) = curves_of(
            build(KINDS["sft"], opt, tmp_path / asked), monkeypatch, asked
        )
        one, two = (torch.cat([part.flatten() for part in each]) for each in (exact, rounded))
        apart.append(float((one - two).norm() / one.norm()))
    assert 0 < apart[1] < apart[0]


def test_an_overflow_of_float16_halves_the_scale(opt, tmp_path, monkeypatch):
    """Gradients of 1e3 times the loss' are beyond 65,504 at the first scale, and are not lost."""
    trainer = build(KINDS["sft"].model_copy(update={"learning_rate": 1e-9}), opt, tmp_path)
    honest, passes = trainer.compute_loss, []

    def compute_loss(model, batch, **given):
        passes.append(torch.is_autocast_enabled("cpu"))
        return honest(model, batch, **given) * 1e3

    trainer.compute_loss = compute_loss
    (_, exact), (_, rounded) = curves_of(trainer, monkeypatch, "fp16")
    one, two = (torch.cat([part.flatten() for part in each]) for each in (exact, rounded))
    assert (one - two).norm() / one.norm() < 0.05
    assert sum(passes) > 8  # some steps were taken again


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(InputError, match="needs a GPU"):
        pick_precision("fp16", "cpu")
    assert pick_precision("fp16", "cuda") == "fp16"


def curves_of(trainer, monkeypatch, asked="bf16"):
    """Run the gate and give the two curves that it compares."""
    seen = []
    monkeypatch.setattr(precision, "curves_agree", lambda *curves, asked, **_: seen.extend(curves))
    precision_gate(trainer, asked)
    return seen


def test_the_two_curves_really_are_in_two_precisions(opt, tmp_path, monkeypatch):
    (exact, gradient), (rounded, other) = curves_of(build(KINDS["sft"], opt, tmp_path), monkeypatch)
    assert exact[-1] < exact[0] - 0.1  # it learns
    assert all(one != two for one, two in zip(exact, rounded, strict=True))
    whole, halved = (torch.cat([part.flatten() for part in each]) for each in (gradient, other))
    assert 1e-4 < (whole - halved).norm() / whole.norm() < GRADIENT_TOLERANCE
    assert {each.dtype for each in other} == {torch.float32}  # master weights


def test_a_curve_is_what_the_optimizer_makes_of_the_first_rows(opt, tmp_path, monkeypatch):
    """Against a plain loop on a second trainer."""
    losses = curves_of(build(KINDS["sft"], opt, tmp_path / "a"), monkeypatch)[0][0]
    trainer = build(KINDS["sft"], opt, tmp_path / "b")
    model = trainer.model.eval()
    rows = [trainer.train_dataset[row] for row in range(8)]
    batch = {k: v for k, v in trainer.data_collator(rows).items() if k != "row"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for expected in losses:
        loss = model(**batch).loss
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def test_training_after_the_gate_gives_the_same_bytes_as_without_it(opt, tmp_path, monkeypatch):
    """The gate's verdict is taken away, so that both are trained in float32."""
    trained = []
    for kind, asked in (("gated", "bf16"), ("plain", "fp32")):
        settings = KINDS["dpo"].model_copy(update={"precision": asked})
        agree = precision.curves_agree
        monkeypatch.setattr(
            precision, "curves_agree",
            lambda *curves, agree=agree, **how: replace(agree(*curves, **how), passed=False),
        )  # fmt: skip
        job = fx.make_job(settings, opt, tmp_path / kind)
        trained.append(training.train(job))
        trained.append({f.name: f.read_bytes() for f in job.out.glob("*.safetensors")})
    assert trained[0].final_loss == trained[2].final_loss
    assert trained[1] == trained[3]


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
    with pytest.raises(GuardError, match="bf16") as caught:
        precision_gate(trainer, "bf16", steps=2)
    assert said in caught.value.why
    assert "precision: fp32" in caught.value.hint


def test_auto_falls_back_to_float32_and_says_so(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)
    spoil(trainer, under_autocast=lambda loss: loss + 1)
    outcome = precision_gate(trainer, "auto", steps=2)
    assert not outcome.passed
    assert outcome.guard == "bf16_follows_fp32"
    assert outcome.detail.endswith("trained in fp32")


def test_a_model_whose_products_bfloat16_cannot_hold_is_refused(tmp_path):
    """No planted fault: weights so widely spread that logits are in the hundreds."""
    wild = fx.write_opt(tmp_path / "opt", std=2.0)
    trainer = build(KINDS["sft"], wild, tmp_path)
    with pytest.raises(GuardError, match="leaves what float32 does"):
        precision_gate(trainer, "bf16")


def test_both_curves_begin_from_the_same_weights_buffers_and_random_numbers(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)
    trainer.model.register_buffer("passes", torch.zeros(2))
    honest, seen = trainer.compute_loss, []

    def compute_loss(model, batch, **given):
        model.passes += 1
        seen.append((float(torch.rand(())), float(model.passes.sum())))
        return honest(model, batch, **given)

    trainer.compute_loss = compute_loss
    state = torch.get_rng_state()
    precision_gate(trainer, "bf16", steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(seen) == 4
    assert seen[:2] == seen[2:]


def test_fewer_rows_are_compared_where_memory_runs_out(opt, tmp_path):
    trainer = build(KINDS["dpo"], opt, tmp_path)
    honest, rows = trainer.compute_loss, []

    def compute_loss(model, batch, **given):
        rows.append(len(batch["input_ids"]) // 2)
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(model, batch, **given)

    trainer.compute_loss = compute_loss
    assert precision_gate(trainer, "bf16", steps=2).passed
    assert rows == [8, 4, 2, 2, 2, 2]


def test_out_of_memory_with_one_row_is_said(opt, tmp_path):
    trainer = build(KINDS["sft"], opt, tmp_path)

    def compute_loss(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.compute_loss = compute_loss
    with pytest.raises(torch.OutOfMemoryError):
        precision_gate(trainer, "bf16")


@pytest.mark.parametrize("asked", ["auto", "fp32"])
def test_on_a_cpu_float32_is_taken_unmeasured(asked):
    assert pick_precision(asked, "cpu") == "fp32"


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


def distances(losses, gradients):
    """Return the outcome of curves in float32 and bf16."""
    exact, rounded = (
        (curve, [torch.tensor(each) for each in gradient])
        for curve, gradient in zip(losses, gradients, strict=True)
    )
    return curves_agree(exact, rounded, asked="auto")


SAME = ([[3.0, 0.0], [[4.0]]], [[3.0, 0.0], [[4.0]]])


@pytest.mark.parametrize(
    ("exact", "rounded", "apart"),
    [
        ([3.0, 2.0], [3.0, 2.0], 0),
        ([4.0, 2.0], [4.0, 2.4], 0.1),
        ([0.5, 0.4], [0.5, 0.3], 0.1),  # of 1, not of 0.5
        ([4.0, 2.0], [4.0, 2.079], 0.02),
        ([1.0, math.nan], [1.0, 1.0], math.inf),
        ([1.0, 1.0], [1.0, -math.inf], math.inf),
    ],
)
def test_distances_of_losses(exact, rounded, apart):
    found = distances((exact, rounded), SAME)
    assert f"at most {apart:.2g} apart" in found.detail
    assert found.passed == (apart <= CURVE_TOLERANCE)


@pytest.mark.parametrize(
    ("exact", "rounded", "apart"),
    [
        (*SAME, 0),
        (SAME[0], [[3.0, 0.0], [[4.5]]], 0.1),
        (SAME[0], [[3.0, 0.0], [[5.6]]], 0.32),
        (SAME[0], [[0.0, 0.0], [[0.0]]], 1),
        (SAME[0], [[math.nan, 0.0], [[4.0]]], math.inf),
        (SAME[0], [[math.inf, 0.0], [[4.0]]], math.inf),
        ([[0.0]], [[0.0]], 0),
        ([[0.0]], [[1e-9]], math.inf),
    ],
)
def test_distances_of_gradients(exact, rounded, apart):
    found = distances(([1.0], [1.0]), (exact, rounded))
    assert f"the first gradients {apart:.2g} " in found.detail
    assert found.passed == (apart <= GRADIENT_TOLERANCE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_study_that_asks_for_fp16_says_how_it_was_proved(opt, tmp_path):
    settings = KINDS["dpo"].model_copy(update={"precision": "fp16", "max_steps": 8})
    job = replace(fx.make_job(settings, opt, tmp_path), device="cuda")
    result = training.train(job)
    assert {outcome.guard: outcome.passed for outcome in result.guards}["fp16_follows_fp32"]
    assert math.isfinite(result.final_loss)


def test_a_study_that_asks_for_bf16_says_how_it_was_proved(opt, tmp_path):
    settings = KINDS["dpo"].model_copy(update={"precision": "bf16", "max_steps": 1})
    job = fx.make_job(settings, opt, tmp_path)
    outcomes = {outcome.guard: outcome for outcome in training.train(job).guards}
    assert outcomes["bf16_follows_fp32"].passed
    plain = training.train(replace(job, settings=KINDS["dpo"], out=tmp_path / "plain", digest="d1"))
    assert "bf16_follows_fp32" not in {outcome.guard for outcome in plain.guards}
