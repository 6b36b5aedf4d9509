"""Methods with a reward in the loop under a budget: they end where it is spent, all counted."""

import csv
import json

import pytest
import tiny_study as tiny

ONLINE = {
    "learning_rate": 1e-4, "max_length": 160, "per_device_train_batch_size": 4,
    "num_generations": 4, "sampling": {"max_new_tokens": 90, "temperature": 0.5},
}  # fmt: skip
CHANGES = {
    "methods": {
        "sft": {**tiny.TRAINING, "max_steps": 16},
        "dpo": {**tiny.TRAINING, "max_steps": 200, "probe_pairs": 0},
        "rloo": ONLINE,
        "ppo": {**ONLINE, "critic": {"learning_rate": 1e-4}, "ptx_coef": 0.1},
        "rft": {**ONLINE, "reward_model": {"max_steps": 4, "learning_rate": 1e-4}},
    },
    "recipes": {"base": [], "sft": ["sft"], "dpo": ["sft", "dpo"]}
    | {name: ["sft", name] for name in ("rloo", "ppo", "rft")},
    "accept": ["same_judge"],
    "workers": 1,
    "diagnostics": None,
    "budget": {"match": "flops", "of": "dpo", "epochs": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("online-budget")
    path = tiny.write_study(root / "study.yaml", CHANGES)
    return tiny.run_here(path, out=root / "run", home=root / "home")


@pytest.mark.parametrize("name", ["rloo", "ppo", "rft"])
def test_it_ends_within_the_budget_or_one_update(run, name):
    with (run.folder / "tables" / "budget.csv").open(encoding="utf-8") as file:
        rows = {row["recipe"]: row for row in csv.DictReader(file)}
    assert rows[name]["state"].startswith("within"), rows[name]
    spent, target = float(rows[name]["flops"]), float(rows["dpo"]["flops"])
    result = json.loads((run.folder / "models" / name / "result.json").read_text())
    steps = result["steps"]
    assert abs(spent - target) <= max(0.02 * target, 1.5 * spent / steps)
    drawn = (run.folder / "models" / name / "samples.jsonl").read_text().splitlines()
    assert len(drawn) == result["work"]["samples"] == (steps + 1) * 16
    assert any("max_flops was reached" in note for note in result["notes"])
