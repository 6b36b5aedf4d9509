"""A tiny study run for real: what its stages say they took, and what a plan then says."""

import json
import time
from dataclasses import replace

import pytest
from models_fixtures import TINY_DEMO

from alignstudy import Study
from alignstudy.cli.app import main
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.stages.generate import read_responses

OVERRIDES = (*TINY_DEMO, "diagnostics=null")
GENERATED = "generate/dpo/seed-0"
SCORED = "score/world-judge/dpo/seed-0"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The study with its trainings and one model's responses scored, and the facts by stage."""
    root = tmp_path_factory.mktemp("costs")
    study = replace(
        Study.load("demo", overrides=OVERRIDES, out=root / "run"), store=Store(root / "home")
    )
    stages = in_order(study.graph(study.located(fetch=False)).goals)
    runner = Runner(store=study.store, device="cpu", threads=1)
    for stage in stages:
        if stage.name in {"train/sft/seed-0", SCORED}:
            runner.make(stage)
    made = {s.name: s for s in stages if study.store.peek(s.kind, s.key) is not None}
    return study, runner, made


def facts(ran, name):
    study, _, made = ran
    return study.store.peek(made[name].kind, made[name].key).facts


def test_every_stage_says_what_it_took(ran):
    for name in ran[2]:
        found = facts(ran, name)
        assert found["seconds"] > 0
        assert found["cpu_seconds"] > 0
        assert found["joules"] is None or found["joules"] > 0
        assert {"peak_memory", "device_memory", "work"} <= set(found)


def test_a_trainings_flops_are_its_tokens_times_its_weights(ran):
    """3 passes' work for full weights, 2 for an adapter, 1 for the reference."""
    study, _, made = ran
    shape = read_shape(study.store.folder("train", made["base"].key))
    for name, times in (("base", 3), ("train/sft/seed-0", 3), ("train/dpo/seed-0", 2)):
        result = json.loads(
            (study.store.folder("train", made[name].key) / "result.json").read_text()
        )
        work = result["work"]
        layers = 2.0 * work["processed_tokens"] * shape.layers * shape.layer_weights
        head = 2.0 * work["scored_tokens"] * shape.vocabulary * shape.embedding
        passes = times + (name == "train/dpo/seed-0") * work["reference_pairs"] / 16
        least = passes * (layers + head)
        attended = passes * 4.0 * work["processed_tokens"] * shape.layers * shape.hidden * 192
        assert least * 0.99 < facts(ran, name)["flops"] < least + attended


def test_a_generations_flops_are_those_of_its_tokens(ran):
    study, _, made = ran
    found = facts(ran, GENERATED)
    folder = study.store.folder("generate", made[GENERATED].key)
    new = sum(response.num_tokens for response in read_responses(folder))
    shape = read_shape(study.store.folder("train", made["base"].key))
    tokens = found["prompt_tokens"] + new
    assert found["tokens"] == new
    layers = 2.0 * tokens * shape.layers * shape.layer_weights
    head = 2.0 * (new + 6) * shape.vocabulary * shape.embedding
    assert layers + head < found["flops"] < 2 * (layers + head)


def test_a_judges_flops_are_those_of_the_tokens_that_it_read(ran):
    study, _, made = ran
    found = facts(ran, SCORED)
    shape = read_shape(study.store.folder("train", made["judge/world-judge"].key))
    responses = read_responses(study.store.folder("generate", made[GENERATED].key))
    assert 0 < found["texts"] <= len(responses)
    assert found["tokens"] > sum(response.num_tokens for response in responses)
    layers = 2.0 * found["tokens"] * shape.layers * shape.layer_weights
    assert layers < found["flops"] < 6 * layers


def test_the_route_of_products_is_settled_before_numbers_are_made(ran):
    assert ran[1].kernels["threads"] == 1
    assert ran[1].kernels["float32"] >= 0.9 * ran[1].kernels["default"]
    assert ran[0].store.machine_file().is_file()


def test_a_plan_then_rests_on_what_was_measured_here(ran):
    study, _, made = ran
    lines, _ = study.plan()
    states = {line.stage.name: line.state for line in lines}
    assert {name for name, state in states.items() if state == "cached"} == set(made)
    found = {each.stage: each for each in study.estimate(lines).stages}
    assert set(found) == {name for name, state in states.items() if state == "new"}
    assert "of its kind here" in found["generate/sft/seed-0"].basis
    assert "of its kind here" in found["train/sft+dpo/seed-0"].basis
    assert "probe" in found["assess/world-judge"].basis
    dpo = facts(ran, "train/dpo/seed-0")
    again = found["train/sft+dpo/seed-0"]
    assert again.low < dpo["seconds"] < again.high
    assert again.seconds == pytest.approx(dpo["seconds"], rel=0.2)


def test_the_command_prints_estimates_and_json_holds_them(ran, tmp_path, monkeypatch, capsys):
    study, _, made = ran
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(study.store.root))
    arguments = ["plan", "demo", "--out", str(tmp_path / "run")]
    for override in OVERRIDES:
        arguments += ["--set", override]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "estimate for this machine: " in told
    assert "earlier run of its kind here" in told
    start = time.monotonic()
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    assert time.monotonic() - start < 20
    found = json.loads(capsys.readouterr().out)
    by_name = {line["stage"]: line for line in found["stages"]}
    assert by_name["base"]["estimate"] is None
    assert by_name["report"]["estimate"]["seconds"] > 0
    assert found["estimate"]["seconds"] > 0
    assert found["estimate"]["unknown"] == []
    assert set(made) == {name for name, line in by_name.items() if line["state"] == "cached"}


def test_the_probe_of_an_accelerator_measures_what_it_says(monkeypatch):
    """No accelerator is needed to see that each figure is there and of the right size."""
    import torch

    from alignstudy.runtime import device, device_probe

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(device, "device_name", lambda device: "a stand-in")
    found = device_probe.measure_device("cpu", size=96)
    assert found.name == "a stand-in"
    assert found.dispatch < 1e-3
    assert 1e-3 < found.narrow < 1e4
    assert 1e-2 < found.wide < 1e4
    assert min(found.half, found.bandwidth) > 0
