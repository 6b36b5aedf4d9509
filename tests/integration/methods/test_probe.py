"""The probe looks and changes nothing; what it says is what the saved weights say by themselves."""

import json
import math

import methods_fixtures as fx
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop import probing
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.tpo import TPOSettings
from alignstudy.models.rendering import load_rendering

COMMON = {"max_length": 120, "per_device_train_batch_size": 4, "learning_rate": 1e-3}
MANY = {**COMMON, "num_train_epochs": 8, "probe_pairs": 1}
"""24 steps: the probe's two pairs are measured five times between start and end."""
HELD_OUT = fx.make_pairs(14)[10:]
CASES = {
    "dpo": DPOSettings(**COMMON),
    "dpo lora, dropout": DPOSettings(
        **COMMON, dropout="keep", lora=LoRASettings(lora_dropout=0.3, r=4)
    ),
    "simpo, max_steps": DPOSettings(**COMMON, loss_type="simpo", max_steps=2),
    "kto": KTOSettings(**COMMON),
    "tpo": TPOSettings(**COMMON),
    "bf16": DPOSettings(**COMMON, precision="bf16"),
    "published": DPOSettings(**COMMON, encoding="published", truncation="keep_end"),
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt", dropout=0.1)


def job_of(settings, parent, root, **changes):
    given = {"held_out": HELD_OUT, "rows": fx.make_triples()} | changes
    return fx.make_job(settings, parent, root, **given)


def read_probe(out):
    return [json.loads(line) for line in (out / "probe.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", CASES)
def test_trained_weights_are_the_same_to_the_bit_with_and_without(name, parent, tmp_path):
    with_one = CASES[name]
    without = with_one.model_copy(update={"probe_pairs": 0})
    trained = {}
    for label, settings in (("with", with_one), ("without", without)):
        job = job_of(settings, parent, tmp_path / label)
        result = train(job)
        trained[label] = fx.weights_of(job.out), (job.out / "metrics.jsonl").read_bytes()
        assert (job.out / "probe.jsonl").exists() == (label == "with")
        assert (result.work.probed_pairs > 0) == (label == "with")
    (first, metrics), (second, other_metrics) = trained.values()
    assert first.keys() == second.keys()
    assert all(first[key].equal(second[key]) for key in first)
    assert metrics == other_metrics


def alone(model, prompt, response):
    """Return a response's log-probabilities, and those of every token, by the model's forward."""
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        every = model(input_ids=ids).logits[0].log_softmax(-1).numpy()
    rows = every[len(prompt) - 1 : -1]
    return rows[range(len(response)), response], rows


@pytest.mark.parametrize("name", ["dpo", "kto", "tpo"])
def test_its_figures_are_those_of_the_saved_weights(name, parent, tmp_path):
    job = job_of(CASES[name], parent, tmp_path)
    train(job)
    lines = read_probe(job.out)
    assert [(line["step"], line["part"], line["pairs"]) for line in lines] == [
        (0, "train", 10), (0, "held_out", 4), (3, "train", 10), (3, "held_out", 4)
    ]  # fmt: skip
    rendering = load_rendering(parent, "auto")
    models = [AutoModelForCausalLM.from_pretrained(at).eval().double() for at in (parent, job.out)]
    for part, pairs in (("train", job.rows), ("held_out", HELD_OUT)):
        texts = [[p.chosen, p.rejected] for p in pairs]
        joined = list(rendering.joined([p.prompt for p in pairs], texts))
        c, r, unseen, size = [], [], [], []
        for model in models:
            for prompt, (chosen, rejected), _ in joined:
                values, rows = alone(model, prompt, chosen)
                others, _ = alone(model, prompt, rejected)
                at = next(
                    i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b
                )
                c.append(values.sum())
                r.append(others.sum())
                size.append(len(chosen))
                rest = set(range(rows.shape[1])) - {chosen[at], rejected[at]}
                unseen.append(np.exp(rows[at, sorted(rest)]).sum())
        c, r, unseen, size = (np.array(v).reshape(2, -1) for v in (c, r, unseen, size))
        first, last = (line for line in lines if line["part"] == part)
        near = {"rel": 1e-5, "abs": 1e-4}
        for line, now in ((first, 0), (last, 1)):
            assert line["chosen"] == pytest.approx(c[now].mean(), **near)
            assert line["rejected"] == pytest.approx(r[now].mean(), **near)
            assert line["chosen_per_token"] == pytest.approx((c[now] / size[now]).mean(), **near)
            assert line["unseen_mass"] == pytest.approx(unseen[now].mean(), **near)
        a, b = c[1] - c[0], r[1] - r[0]
        assert first["margin_change"] == 0
        assert last["margin_change"] == pytest.approx((a - b).mean(), rel=1e-3, abs=1e-3)
        assert last["chosen_fell"] == (a < 0).mean()
        assert last["both_fell"] == ((a < 0) & (b < 0)).mean()
        assert last["right_by_sum"] == (c[1] > r[1]).mean()
        if name != "dpo":  # whose gradient is another one
            assert last["saturation"] is None
        else:
            left = (1 / (1 + np.exp(0.1 * (a - b)))).mean()
            assert last["saturation"] == pytest.approx(left, rel=1e-4)
        if name == "dpo":
            assert last["log_gradient_ratio"] == pytest.approx((c[1] - r[1]).mean(), rel=1e-4)
        else:
            assert last["log_gradient_ratio"] is None  # a pair's loss depends on other texts


@pytest.mark.parametrize(("name", "is_dpos"), [("sigmoid", True), ("hinge", False)])
def test_what_is_left_of_dpos_gradient_is_said_of_losses_that_have_it(
    name, is_dpos, parent, tmp_path
):
    job = job_of(CASES["dpo"].model_copy(update={"loss_type": (name,)}), parent, tmp_path)
    train(job)
    last = read_probe(job.out)[-1]
    assert (last["saturation"] is not None) == is_dpos
    assert last["log_gradient_ratio"] is not None


def test_stopped_and_continued_it_is_the_same_to_the_bit(parent, tmp_path):
    settings = DPOSettings(**MANY, save_steps=5)
    kept = {"references": tmp_path / "references.sqlite"}
    whole = job_of(settings, parent, tmp_path / "whole", **kept)
    result = train(whole)
    steps = [line["step"] for line in read_probe(whole.out) if line["part"] == "train"]
    assert steps == [0, 4, 8, 12, 16, 20, 24]
    assert result.work.probed_pairs == 14
    for stop in (7, 9):  # at step 7, between two measurements, and at step 16, after one
        asked = iter(range(1, 100))
        job = job_of(settings, parent, tmp_path / "cut", **kept,
                     should_stop=lambda asked=asked, stop=stop: next(asked) == stop)  # fmt: skip
        with pytest.raises(InterruptedRunError, match=f"at step {7 if stop == 7 else 16} of 24"):
            train(job)
    resumed = train(job_of(settings, parent, tmp_path / "cut"))
    for name in ("probe.jsonl", "metrics.jsonl", "model.safetensors"):
        parts = [(tmp_path / at / "out" / name).read_bytes() for at in ("whole", "cut")]
        assert parts[0] == parts[1], name
    assert resumed.work.probed_pairs == 6  # the start again, and two more


def test_it_is_drawn_from_the_rows_that_updates_read(parent, tmp_path):
    job = job_of(DPOSettings(**COMMON, max_steps=1), parent, tmp_path)
    train(job)
    assert [line["pairs"] for line in read_probe(job.out)] == [4, 4, 4, 4]


def test_without_held_out_pairs_it_says_so(parent, tmp_path):
    job = job_of(CASES["dpo"], parent, tmp_path / "none", held_out=())
    assert train(job).notes == ("the probe has no held-out pairs: the study has none",)
    assert {line["part"] for line in read_probe(job.out)} == {"train"}
    long = [fx.make_pairs(1)[0].__class__(id="x", prompt="\n\nHuman: " + "word " * 90
            + "\n\nAssistant:", chosen=" a", rejected=" b")]  # fmt: skip
    [note] = train(job_of(CASES["dpo"], parent, tmp_path / "long", held_out=long)).notes
    assert "the probe has no held-out pairs: no row is left" in note
    assert "max_length" in note


def test_only_methods_that_compare_pairs_have_one(parent, tmp_path):
    job = job_of(SFTSettings(**COMMON), parent, tmp_path)
    assert train(job).notes == ()
    assert not (job.out / "probe.jsonl").exists()


def test_weights_that_diverged_at_the_last_step_are_not_saved(parent, tmp_path, monkeypatch):
    """No further step would show it: the loss was finite before the update."""
    settings = DPOSettings(**COMMON, max_steps=2)
    job = job_of(settings, parent, tmp_path)
    ask = probing.Probe._ask

    def diverged(probe, pairs):
        if probe.trainer.state.global_step == 2:
            next(probe.trainer.model.parameters()).data.fill_(math.nan)
        return ask(probe, pairs)

    monkeypatch.setattr(probing.Probe, "_ask", diverged)
    with pytest.raises(GuardError, match="a log-probability of pair small/train:") as caught:
        train(job)
    assert caught.value.kept
    assert not list(job.out.iterdir())


ENDLESS = {**COMMON, "loss_type": "irft_linear", "beta": 1.0, "max_steps": 60}


def test_a_loss_without_a_lower_bound_is_stopped_once_chosen_responses_are_lost(parent, tmp_path):
    job = job_of(
        DPOSettings(**ENDLESS | {"learning_rate": 0.05, "save_steps": 1}), parent, tmp_path
    )
    with pytest.raises(GuardError, match="training has destroyed what it should prefer") as caught:
        train(job)
    assert "the loss has no lower bound" in caught.value.why
    step = int(caught.value.what.split("after step ")[1].split()[0])
    assert step in (6, 12, 18, 24, 30, 36, 42, 48, 54, 60)
    assert caught.value.kept == f"the checkpoint of step {step - 1}"
    assert not list(job.out.iterdir())


def test_a_loss_without_a_lower_bound_may_train_while_they_are_likely(parent, tmp_path):
    job = job_of(DPOSettings(**ENDLESS | {"learning_rate": 1e-6}), parent, tmp_path)
    train(job)
    assert len(read_probe(job.out)) == 22  # looked at as often as can be, whatever it costs
    with pytest.raises(ValueError, match="give probe_pairs, on which training is stopped"):
        DPOSettings(**ENDLESS, probe_pairs=0)


def test_a_bounded_loss_goes_on_where_they_are_lost(parent, tmp_path):
    job = job_of(DPOSettings(**COMMON | {"learning_rate": 0.05, "max_steps": 60}), parent, tmp_path)
    train(job)
    first, *_, last = (line["chosen_per_token"] for line in read_probe(job.out))
    assert last < first - 3


def test_a_smaller_piece_where_memory_runs_out_says_the_same(parent, tmp_path, monkeypatch):
    train(job_of(CASES["dpo"], parent, tmp_path / "whole"))
    ask = probing.Probe._ask

    def only_one(probe, pairs):
        if len(pairs) > 1:
            raise MemoryError
        return ask(probe, pairs)

    monkeypatch.setattr(probing.Probe, "_ask", only_one)
    train(job_of(CASES["dpo"], parent, tmp_path / "small"))
    whole, small = (read_probe(tmp_path / at / "out") for at in ("whole", "small"))
    for one, other in zip(whole, small, strict=True):
        assert one.pop("part") == other.pop("part")
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)
