"""Kernels are chosen by measurement: what fails or computes otherwise is told and not taken."""

import methods_fixtures as fx
import pytest
import torch

from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop import assembly, routes
from alignstudy.methods.loop import train as training
from alignstudy.methods.loop.quiet import quiet_libraries
from alignstudy.methods.loop.routes import (
    PLAIN,
    Route,
    Trial,
    routes_to_try,
    settle_route,
    timed_pass,
)
from alignstudy.methods.sft import SFTSettings
from alignstudy.models.tokenizers import load_tokenizer

SLOW = torch.zeros(2)


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


def trainer_of(settings, opt, root):
    job = fx.make_job(settings, opt, root)
    tokenizer = load_tokenizer(opt)
    with quiet_libraries():
        encoded = training.encode(job, tokenizer)
        return assembly.assemble(job, encoded, tokenizer, precision="fp32").trainer


@pytest.mark.parametrize(
    "settings",
    [
        DPOSettings(max_length=64, lora=LoRASettings(lora_dropout=0.0), max_steps=1),
        SFTSettings(max_length=64, max_steps=1),
    ],
)
def test_another_attention_is_timed_and_compared_and_leaves_nothing_behind(settings, opt, tmp_path):
    trainer = trainer_of(settings, opt, tmp_path)
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    state = torch.get_rng_state()
    plain = timed_pass(trainer)
    taken, notes = settle_route(trainer, [Route("eager")], precision="fp32")
    assert plain.seconds > 0
    assert plain.sums.isfinite().all()
    assert taken in {PLAIN, Route("eager")}
    assert not any("differ" in note or "not taken" in note for note in notes)
    assert trainer.model.config._attn_implementation == taken.attention
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    after = trainer.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in weights.items())


def measured(found):
    """Measure what is told for each attention instead of a clock."""

    def measure(trainer):
        trial = found[trainer.model.config._attn_implementation]
        if isinstance(trial, Exception):
            raise trial
        return trial

    return measure


@pytest.mark.parametrize(
    ("eager", "taken", "said"),
    [
        (Trial(0.5, SLOW), "eager", "kernels: eager, 0.50 of the plain route's time"),
        (Trial(0.98, SLOW), "sdpa", None),
        (Trial(0.5, SLOW + 1), "sdpa", "log-probabilities differ by 1"),
        (Trial(0.5, torch.tensor([float("nan"), 0])), "sdpa", "log-probabilities differ by nan"),
        (RuntimeError("no such kernel\nmore"), "sdpa", "RuntimeError: no such kernel"),
    ],
)
def test_the_faster_route_is_taken_only_if_it_computes_the_same(eager, taken, said, opt, tmp_path):
    trainer = trainer_of(SFTSettings(max_length=64, max_steps=1), opt, tmp_path)
    found = {"sdpa": Trial(1.0, SLOW), "eager": eager}
    route, notes = settle_route(
        trainer, [Route("eager")], precision="fp32", measure=measured(found)
    )
    assert route.attention == taken == trainer.model.config._attn_implementation
    assert said is None or said in " ".join(notes)
    assert (said is None) == (not notes)


def test_compilation_is_tried_only_where_it_can_be_paid_back():
    assert routes_to_try(updates=100, dropout=True) == []
    assert routes_to_try(updates=100, dropout=False) == [Route("flex_attention")]
    long = routes_to_try(updates=routes.WORTH_COMPILING, dropout=False)
    assert long == [
        Route("flex_attention"), Route("sdpa", compiled=True),
        Route("flex_attention", compiled=True),
    ]  # fmt: skip
