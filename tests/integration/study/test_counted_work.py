"""A tiny study run for real: what its stages say they took, planned and measured."""

import json
from dataclasses import replace

import pytest
from models_fixtures import TINY_DEMO

from alignstudy import Study
from alignstudy.cli.app import main
from alignstudy.methods.dpo import DPOSettings
from alignstudy.study.cost.estimate import LIBRARIES, _folder
from alignstudy.study.cost.meter import process_peak, reset_peak
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.stages.generate import read_responses

OVERRIDES = ("methods.dpo.probe_pairs=2", *TINY_DEMO, "diagnostics=null")
GENERATED = "generate/dpo/seed-0"
SCORED = "score/world-judge/dpo/seed-0"


@pytest.fixture(scope="module")
def held():
    """Bytes that this process held before the study, of whatever tests came first."""
    reset_peak("cpu")
    return process_peak() or 0


@pytest.fixture(scope="module")
def ran(held, tmp_path_factory):
    """The study with its trainings and one model's responses scored, and the made stages."""
    root = tmp_path_factory.mktemp("costs")
    study = replace(
        Study.load("demo", overrides=OVERRIDES, out=root / "run"), store=Store(root / "home")
    )
    stages = in_order(study.graph(study.located(fetch=False)).goals)
    runner = Runner(store=study.store, device="cpu", threads=1)
    for stage in stages:
        if stage.name in {"train/sft/seed-0", "calibrate/world-judge", SCORED}:
            runner.make(stage)
    return study, {s.name: s for s in stages if study.store.peek(s.kind, s.key) is not None}


def facts(ran, name):
    study, made = ran
    return study.store.peek(made[name].kind, made[name].key).facts


def planned(ran, name):
    study, made = ran
    return made[name].planned_work(lambda needed: _folder(needed, study.store))


def test_every_stage_says_what_it_took(ran):
    for name in ran[1]:
        found = facts(ran, name)
        assert found["seconds"] > 0
        assert found["cpu_seconds"] > 0
        assert {"peak_memory", "device_memory", "work"} <= set(found)


@pytest.mark.parametrize("name", ["base", "judge/world-judge"])
def test_tokens_planned_for_whole_epochs_are_those_that_are_read(ran, name):
    assert planned(ran, name)[0].tokens == facts(ran, name)["tokens"]


@pytest.mark.parametrize("name", ["base", "train/sft/seed-0", "train/dpo/seed-0"])
def test_flops_planned_of_a_training_are_those_that_are_counted(ran, name):
    flops = sum(each.flops for each in planned(ran, name))
    assert flops == pytest.approx(facts(ran, name)["flops"], rel=0.001)


def test_a_trainings_flops_are_its_tokens_times_its_weights(ran):
    """3 passes' work for full weights, 2 for an adapter, 1 for the reference and the probe."""
    study, made = ran
    shape = read_shape(study.store.folder("train", made["base"].key))
    for name, times in (("base", 3), ("train/sft/seed-0", 3), ("train/dpo/seed-0", 2)):
        result = json.loads(
            (study.store.folder("train", made[name].key) / "result.json").read_text()
        )
        work = result["work"]
        layers = 2.0 * work["processed_tokens"] * shape.layers * shape.layer_weights
        head = 2.0 * work["scored_tokens"] * shape.vocabulary * shape.embedding
        passes = times + (work["reference_pairs"] + work["probed_pairs"]) / 16
        least = passes * (layers + head)
        attended = passes * 4.0 * work["processed_tokens"] * shape.layers * shape.hidden * 192
        assert least * 0.99 < facts(ran, name)["flops"] < least + attended


def test_a_reference_that_steps_ask_is_planned_in_every_one_and_held(ran):
    """Of full weights, or of another model than the parent, a second one lies in memory."""
    study, made = ran
    dpo = made["train/dpo/seed-0"]
    shape = dpo.parent.model_shape()
    plain, tdpo = (
        replace(
            dpo, settings=DPOSettings(loss_type=loss, num_train_epochs=3, lora=dpo.settings.lora)
        )
        for loss in ("sigmoid", "tdpo2")
    )
    (policy, asked), (_, once) = (
        stage.planned_work(lambda needed: _folder(needed, study.store))[:2]
        for stage in (tdpo, plain)
    )
    assert asked.flops * 2 == pytest.approx(policy.flops)  # in each step, forward; frozen weights
    assert once.flops * 3 == pytest.approx(asked.flops)  # one epoch's
    full = replace(tdpo, settings=DPOSettings(loss_type="tdpo2"))
    from_start = replace(tdpo, reference=made["base"])
    held = [stage.footprint().held for stage in (plain, tdpo, full, from_start)]
    assert held == [0, 0, shape.parameters, shape.parameters]
    without = replace(full.footprint(), held=0.0).memory()
    assert full.footprint().memory() - without == 4 * shape.parameters


def test_pairs_that_the_probe_measures_are_planned(ran):
    study, made = ran
    stage = made["train/dpo/seed-0"]
    work = json.loads((study.store.folder("train", stage.key) / "result.json").read_text())["work"]
    assert stage.held_out is made["prompts"]
    assert planned(ran, stage.name)[-1].times == work["probed_pairs"]
    lines = (study.store.folder("train", stage.key) / "probe.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["pairs"] for line in lines) == work["probed_pairs"]
    assert made["train/sft/seed-0"].held_out is None


def test_a_generations_flops_are_those_of_its_tokens(ran):
    study, made = ran
    found = facts(ran, GENERATED)
    new = [
        r.num_tokens for r in read_responses(study.store.folder("generate", made[GENERATED].key))
    ]
    shape = read_shape(study.store.folder("train", made["base"].key))
    tokens = found["prompt_tokens"] + sum(new)
    assert found["tokens"] == sum(new)
    layers = 2.0 * tokens * shape.layers * shape.layer_weights
    head = 2.0 * (sum(new) + 6) * shape.vocabulary * shape.embedding
    assert layers + head < found["flops"] < 2 * (layers + head)
    assert sum(p.tokens for p in planned(ran, GENERATED)) == found["prompt_tokens"] + 6 * 4


def test_a_judges_flops_are_those_of_the_tokens_that_it_read(ran):
    study, made = ran
    found = facts(ran, SCORED)
    shape = read_shape(study.store.folder("train", made["judge/world-judge"].key))
    responses = read_responses(study.store.folder("generate", made[GENERATED].key))
    assert 0 < found["texts"] <= len(responses)
    assert found["tokens"] > sum(response.num_tokens for response in responses)
    layers = 2.0 * found["tokens"] * shape.layers * shape.layer_weights
    assert layers < found["flops"] < 6 * layers
    calibrated = facts(ran, "calibrate/world-judge")
    assert planned(ran, "calibrate/world-judge")[0].tokens == calibrated["tokens"]


def test_a_measured_peak_is_of_the_size_that_the_formula_gives(held, ran):
    for name, stage in ran[1].items():
        if stage.numeric:
            reckoned = max(LIBRARIES, held) + stage.footprint().memory()
            assert reckoned / 3 < facts(ran, name)["peak_memory"] < 2 * reckoned


def test_a_plan_then_rests_on_what_was_measured_here(ran):
    study, made = ran
    lines, _ = study.plan()
    states = {line.stage.name: line.state for line in lines}
    assert {name for name, state in states.items() if state == "cached"} == set(made)
    found = {each.stage: each for each in study.estimate(lines).stages}
    assert set(found) == {name for name, state in states.items() if state == "new"}
    again, once = found["train/sft+dpo/seed-0"], facts(ran, "train/dpo/seed-0")
    assert again.seconds == pytest.approx(once["seconds"], rel=0.01, abs=0.006)  # in hundredths
    assert again.basis == "1\u00a0earlier run"
    assert found["generate/sft/seed-0"].seconds > 0
    assert found["assess/world-judge"].seconds is None


def test_more_steps_of_the_same_method_take_longer(ran):
    study, _ = ran
    longer = replace(
        Study.load("demo", overrides=(*OVERRIDES[:-2], "methods.dpo.max_steps=6",
                                      "diagnostics=null"), out=study.folder),
        store=study.store,
    )  # fmt: skip
    found = {each.stage: each for each in longer.estimate(longer.plan()[0]).stages}
    once = facts(ran, "train/dpo/seed-0")["seconds"]
    assert 2 * once < found["train/dpo/seed-0"].seconds < 4 * once


def test_the_command_prints_estimates_and_json_holds_them(ran, tmp_path, monkeypatch, capsys):
    study, made = ran
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(study.store.root))
    arguments = ["plan", "demo", "--out", str(tmp_path / "run")]
    for override in OVERRIDES:
        arguments += ["--set", override]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "time: at least " in told
    assert "not known yet for" in told
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    by_name = {line["stage"]: line for line in found["stages"]}
    assert by_name["base"]["estimate"] is None
    assert by_name["report"]["estimate"]["seconds"] is None
    assert by_name["report"]["estimate"]["disk"] > 0
    assert "report" in found["estimate"]["unknown"]
    assert found["estimate"]["seconds"] > 0
    assert set(made) == {name for name, line in by_name.items() if line["state"] == "cached"}
