"""Methods beside SFT and DPO, a reference that is the base, and a template: whole, in one study."""

import json

import pytest
import tiny_study

CHANGES = [
    "methods.simpo={max_steps: 4, learning_rate: 3e-2, max_length: 96,"
    " per_device_train_batch_size: 4}",
    "methods.kto={max_steps: 4, learning_rate: 3e-2, max_length: 96,"
    " per_device_train_batch_size: 4, lora: {r: 4}}",
    "methods.dpo={max_steps: 4, learning_rate: 3e-2, max_length: 96, reference: start,"
    " per_device_train_batch_size: 4, lora: {r: 4}}",
    "recipes={base: [], simpo: [sft, simpo], kto: [sft, kto], dpo: [sft, dpo]}",
    "template=none",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("methods")
    study = tiny_study.write_study(root / "study.yaml")
    made = tiny_study.run_here(study, out=root / "run", home=root / "home", overrides=CHANGES)
    assert "train/sft+kto/seed-0" in made.executed
    return root / "run"


def result(run, name):
    return json.loads((run / "models" / name / "result.json").read_text(encoding="utf-8"))


def test_each_is_trained_against_what_it_needs(run):
    pairs = {name: result(run, name)["work"]["reference_pairs"] for name in ("simpo", "kto", "dpo")}
    assert pairs["simpo"] == 0
    assert pairs["kto"] == pairs["dpo"] == 16  # 4 updates of 4 rows, of 48
    guards = {
        name: {guard["guard"] for guard in result(run, name)["guards"]}
        for name in ("simpo", "kto", "dpo")
    }
    assert "reference_is_parent" in guards["kto"]
    assert "reference_is_parent" not in guards["dpo"] | guards["simpo"]  # the base's; none
    assert all("log_probs_are_the_models" in each for each in guards.values())
    curve = (run / "models" / "dpo" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert abs(json.loads(curve[0])["implicit_reward_margin"]) > 1e-4


def test_the_report_says_how_models_were_asked(run):
    page = (run / "report.md").read_text(encoding="utf-8")
    assert "Prompts are written by no template" in page
    assert "generation stops at" in page
    stages = json.loads((run / "provenance.json").read_text(encoding="utf-8"))["stages"]
    asked = {each["stage"]: each.get("template", "") for each in stages}
    assert "no template" in asked["generate/kto/seed-0"]
    for name in ("simpo", "kto", "dpo"):
        saved = (run / "models" / name / "chat_template.jinja").read_text(encoding="utf-8")
        assert saved.startswith("{#- alignstudy: none -#}")


def test_every_model_answered_and_was_compared(run):
    table = (run / "tables" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in table[1:]] == ["base", "simpo", "kto", "dpo"]
